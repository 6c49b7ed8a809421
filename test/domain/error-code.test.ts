import { ServiceError } from '@temporalio/client';
import { errorCode } from '../../domain/error-code';

test('a code, else a name with the gRPC status behind it; never a text', () => {
  expect(errorCode(Object.assign(new Error('ana@private.example'), { code: '23505' }))).toBe('23505');
  const deadline = Object.assign(new Error('4 DEADLINE_EXCEEDED'), { code: 4 });
  expect(errorCode(new ServiceError('Failed to start Workflow', { cause: deadline }))).toBe('ServiceError 4');
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  expect(errorCode(new TypeError('fetch failed', { cause: refused }))).toBe('TypeError');
  expect(errorCode(undefined)).toBe('unknown');
});
