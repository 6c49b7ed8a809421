import { deliveryReport, judgeReport } from '../../../mail/receive/delivery-report';
import { readMessage } from '../../../mail/receive/read';

const read = (status: string, change: { from?: string; subject?: string; type?: string; returned?: string } = {}) =>
  readMessage(
    Buffer.from(
      `From: ${change.from ?? 'MAILER-DAEMON@mx.example'}\nTo: rebotes@tienda.example\nSubject: ${change.subject ?? 'Undelivered Mail Returned to Sender'}\n` +
        `Content-Type: ${change.type ?? 'multipart/report; report-type=delivery-status'}; boundary=b\n\n--b\nContent-Type: text/plain\n\nSorry.\n--b\nContent-Type: message/delivery-status\n\n${status}\n--b\nContent-Type: text/rfc822-headers\n\n${change.returned ?? 'Subject: x'}\n--b--\n`,
    ),
  );

async function judge(status: string, change: Parameters<typeof read>[1] = {}) {
  const message = await read(status, change);
  const report = deliveryReport(message);
  return report === null ? null : judgeReport(report, message);
}

const FINAL = 'Final-Recipient: rfc822; lead@correo.example\n';

test.each([
  ['failed 5.1.1', 'Action: failed\nStatus: 5.1.1', 'hard', 'address', '5.1.1', 'dsn'],
  [
    'failed with a transient status',
    'Action: failed\nStatus: 4.4.7\nDiagnostic-Code: smtp; delivery time expired',
    'soft',
    'network',
    '4.4.7',
    'dsn',
  ],
  [
    'a status that says nothing, and an answer that does',
    'Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 5.2.2 full',
    'soft',
    'mailbox',
    '5.2.2',
    'smtp',
  ],
  ['no status', 'Action: failed\nDiagnostic-Code: smtp; 550 5.1.1 User unknown', 'hard', 'address', '5.1.1', 'smtp'],
  [
    'no status and no code',
    'Action: failed\nDiagnostic-Code: smtp; No such user here',
    'hard',
    'address',
    '5.1.1',
    'table',
  ],
  [
    'no action',
    'Status: 5.7.1\nDiagnostic-Code: smtp; 550 5.7.1 blocked using a DNSBL',
    'soft',
    'policy',
    '5.7.1',
    'dsn',
  ],
  [
    'the sender refused',
    'Action: failed\nStatus: 5.1.8\nDiagnostic-Code: smtp; 553 5.1.8 Domain of sender address does not exist',
    'soft',
    'policy',
    '5.1.8',
    'dsn',
  ],
  [
    'a long answer whose lines are not indented',
    'Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 the account you tried\nto reach does not exist',
    'hard',
    'address',
    '5.0.0',
    'dsn',
  ],
  [
    'comments beside the values',
    'Action: failed (final)\nStatus: 5.2.2 (mailbox full)',
    'soft',
    'mailbox',
    '5.2.2',
    'dsn',
  ],
])('%s', async (_, fields, severity, cause, code, codeFrom) => {
  expect(await judge(`Reporting-MTA: dns; mx.example\n\n${FINAL}${fields}\n`)).toMatchObject({
    bounce: { severity, cause, code, codeFrom, recipient: 'lead@correo.example' },
  });
});

test.each(['delayed', 'delivered', 'relayed', 'expanded'])('%s is a notice', async (action) => {
  expect(await judge(`Reporting-MTA: dns; mx.example\n\n${FINAL}Action: ${action}\nStatus: 4.4.1\n`)).toEqual({
    notice: action,
  });
});

test('several recipients: any failure makes it a bounce, and the final one decides', async () => {
  const status =
    'Reporting-MTA: dns; mx.example\n\n' +
    'Final-Recipient: rfc822; first@correo.example\nAction: delivered\nStatus: 2.0.0\n\n' +
    'Final-Recipient: rfc822; second@correo.example\nAction: failed\nStatus: 5.2.2\n\n' +
    'Final-Recipient: rfc822; third@correo.example\nAction: failed\nStatus: 5.1.1\n';
  expect(await judge(status)).toMatchObject({
    bounce: { severity: 'hard', code: '5.1.1', recipient: 'third@correo.example' },
  });
  const unparted = status.replaceAll('\n\n', '\n');
  expect(await judge(unparted)).toMatchObject({ bounce: { severity: 'hard', recipient: 'third@correo.example' } });
});

test('the address that we mailed, not the one that it was forwarded to', async () => {
  const failed = 'Final-Recipient: rfc822; target@trabajo.example\nAction: failed\nStatus: 5.1.1\n';
  expect(await judge(`Original-Recipient: rfc822;lead+2Bx@correo.example\n${failed}`)).toMatchObject({
    bounce: { recipient: 'lead+x@correo.example' },
  });
  const returned = 'From: marta@tienda.example\nTo: "Lead" <lead@correo.example>\nMessage-ID: <1@tienda.example>';
  expect(await judge(failed, { returned })).toMatchObject({ bounce: { recipient: 'lead@correo.example' } });
  // A list's own address is nobody's mailbox.
  expect(await judge(failed, { returned: `${returned}\nList-Id: <club.example>` })).toMatchObject({
    bounce: { recipient: 'target@trabajo.example' },
  });
});

test("a person's forward of a report is none, even where the mail program kept the parts", async () => {
  const status = `${FINAL}Action: failed\nStatus: 5.1.1\n`;
  const change = { from: 'Lead <lead@correo.example>', subject: 'Fwd: Undelivered Mail', type: 'multipart/mixed' };
  expect(await judge(status, change)).toBeNull();
  expect(await judge(status, { type: 'multipart/mixed' })).toMatchObject({ bounce: { severity: 'hard' } });
});

test('ENVID is read, and a report without recipients decides nothing', async () => {
  const message = await read('Reporting-MTA: dns; mx.example\nOriginal-Envelope-Id: abc\n');
  const report = deliveryReport(message);
  expect(report).toEqual({ envelopeId: 'abc', recipients: [] });
  expect(report && judgeReport(report, message)).toBeNull();
});
