import { providerIdIn } from '../../../mail/deliver/provider-id';

test.each([
  ['Postfix', 'Ok: queued as 4bQ9xY1TzQz2k', '4bQ9xY1TzQz2k'],
  ['Postfix relaying', '2.0.0 Ok: queued as 1A2B3C4D5E', '1A2B3C4D5E'],
  ['Exim', 'OK id=1tXyzA-000abc-1B', '1tXyzA-000abc-1B'],
  ['Exim 4.97', 'OK id=1tXyzA-0000000Abcd-1Bcd', '1tXyzA-0000000Abcd-1Bcd'],
  [
    'Amazon SES',
    'Ok 0100018b5c3c0a4f-1b2c3d4e-0000-4a5b-8c9d-000000000000-000000',
    '0100018b5c3c0a4f-1b2c3d4e-0000-4a5b-8c9d-000000000000-000000',
  ],
  ['Gmail', 'OK  1700000000 a1b2c3d4e5f6-4a5b6c7d8e9sm123456.12 - gsmtp', 'a1b2c3d4e5f6-4a5b6c7d8e9sm123456.12'],
  ['SendGrid', 'Ok: queued as JhWbmQxrTfOa4v5xq1Zy0g', 'JhWbmQxrTfOa4v5xq1Zy0g'],
  ['Haraka', 'Message Queued (6F0C2A8E-1B2C-4D5E-8F90-123456789ABC.1)', '6F0C2A8E-1B2C-4D5E-8F90-123456789ABC.1'],
  ['Sendmail', '4AB1cdEF012345 Message accepted for delivery', '4AB1cdEF012345'],
  ['OpenSMTPD', '1a2b3c4d Message accepted for delivery', '1a2b3c4d'],
  [
    'Microsoft 365',
    'OK <AM0PR01MB1234@AM0PR01MB1234.eurprd01.prod.outlook.com> [Hostname=AM0PR01MB1234]',
    'AM0PR01MB1234@AM0PR01MB1234.eurprd01.prod.outlook.com',
  ],
  [
    'Exchange',
    '<6b36518e-14b1@shop.example> [InternalId=23138874, Hostname=AM0PR01MB1234] 5123 bytes in 0.1 Queued mail for delivery',
    '6b36518e-14b1@shop.example',
  ],
  [
    'Yandex',
    'Ok: queued on smtp3m.mail.yandex.example as 1430081058-6ltgNFKSir-iHEKdOrm',
    '1430081058-6ltgNFKSir-iHEKdOrm',
  ],
  ['Postmark', 'Ok: queued as b7bc2f4a-e38e-4336-af7d-e6c392c2f817', 'b7bc2f4a-e38e-4336-af7d-e6c392c2f817'],
  [
    'Brevo',
    'OK: queued as <202512100915.12345678901@smtp-relay.example>',
    '202512100915.12345678901@smtp-relay.example',
  ],
  ['SparkPost', 'OK 5D/89-12345-1A2B3C4D', '5D/89-12345-1A2B3C4D'],
  ['Mailgun', 'Great success', null],
  ['maildev', 'Message queued', null],
  ['smtp-server', 'OK: message queued', null],
  ['Exchange', 'Queued mail for delivery', null],
  ['an answer that quotes the recipient', 'Ok, delivered to maria@lead.example', null],
  ['nothing', '', null],
])('%s: %s', (_server, text, id) => {
  expect(providerIdIn(text)).toBe(id);
});
