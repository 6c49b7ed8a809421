import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox';
import type { FastifySchemaCompiler } from 'fastify';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';

/**
 * Compiles the schemas of requests. Path and query are texts: where the schema wants an integer, one that is written as an
 * integer is taken as such, and nothing else is (`1.5` and `true` are refused, not rounded); where it wants a boolean, `true`
 * and `false` are. A body is taken as it is.
 */
export const validatorCompiler: FastifySchemaCompiler<TSchema> = (part) => {
  if (part.httpPart === 'body') return TypeBoxValidatorCompiler(part);
  const check = Compile(part.schema);
  const { properties = {} } = part.schema as { properties?: Record<string, { type?: unknown }> };
  return (given: Record<string, unknown>) => {
    const value = Object.fromEntries(
      Object.entries(given).map(([name, text]) => [
        name,
        typeof text === 'string' ? ofType(properties[name]?.type, text) : text,
      ]),
    );
    return check.Check(value) ? { value } : { error: check.Errors(value) };
  };
};

function ofType(type: unknown, text: string): unknown {
  if (type === 'integer' && INTEGER.test(text)) return Number(text);
  return type === 'boolean' && (text === 'true' || text === 'false') ? text === 'true' : text;
}

const INTEGER = /^-?\d{1,15}$/;
