import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox';
import type { FastifySchemaCompiler } from 'fastify';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';

/**
 * Compiles the schemas of requests. Path and query are texts: where the schema wants an integer, one that is written as an
 * integer is taken as such, and nothing else is (`1.5` and `true` are refused, not rounded). A body is taken as it is.
 */
export const validatorCompiler: FastifySchemaCompiler<TSchema> = (part) => {
  if (part.httpPart === 'body') return TypeBoxValidatorCompiler(part);
  const check = Compile(part.schema);
  const { properties = {} } = part.schema as { properties?: Record<string, { type?: unknown }> };
  return (given: Record<string, unknown>) => {
    const value = Object.fromEntries(
      Object.entries(given).map(([name, text]) => [
        name,
        properties[name]?.type === 'integer' && typeof text === 'string' && INTEGER.test(text) ? Number(text) : text,
      ]),
    );
    return check.Check(value) ? { value } : { error: check.Errors(value) };
  };
};

const INTEGER = /^-?\d{1,15}$/;
