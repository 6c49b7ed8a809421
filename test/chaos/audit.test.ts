import { audit } from '../../chaos/audit';
import type { Facts } from '../../chaos/facts';
import { deliveryOf, enrollmentOf, factsOfARun, messageIdOf, messageOf, uuid, WHO } from './facts-of-a-run';

/** What the audit says of a run that was corrupted: each promise that it calls broken, with the breaches. */
function judged(corrupt: (facts: Facts) => void): Record<string, string[]> {
  const facts = factsOfARun();
  corrupt(facts);
  const broken = audit(facts).findings.filter(({ breaches }) => breaches.length > 0);
  return Object.fromEntries(broken.map(({ promise, says, breaches }) => [`${promise} ${says}`, breaches]));
}

const LOST = 'P4 lost: 0';
const DOUBLED = 'P3 doubled: 0';
const AFTER_STOP = 'P2 handed over after an acknowledged stop and not named: 0';
const UNEXPLAINED = 'P3 every unknown is explained by a kill or a fault';
const ONCE = 'P1 once enrolled: one open enrollment and one information mail in it for each lead';
const TYPED = 'P12 every enrollment has a typed outcome, or a due time to come';
const STUCK = 'P12 nothing is stuck';

test('a run in which every promise was kept has no breach', () => {
  const { findings, unknowns, counts } = audit(factsOfARun());
  expect(findings.filter(({ breaches }) => breaches.length > 0)).toEqual([]);
  expect(findings).toHaveLength(10);
  expect(unknowns).toEqual([
    { messageId: messageIdOf(WHO.crashed, 2), step: 2, code: 'crash', because: 'kill: worker', serverHad: true },
  ]);
  expect(counts.outcomes).toEqual({ exhausted: 3, purchased: 1, informed: 1, erased: 1, open: 1 });
  expect(counts.messages).toEqual({ accepted: 31, unknown: 1 });
  expect(counts).toMatchObject({ enrollments: 7, kept: 32, named: 1, stops: { purchase: 1, pause: 1, erasure: 1 } });
});

describe('turns red for', () => {
  test('P3 a mail that was handed over twice, whether it was kept, lost or cut off before the 250', () => {
    for (const fate of ['kept', 'lost'] as const) {
      const broken = judged((facts) => {
        const first = deliveryOf(facts, WHO.exhausted, 3);
        facts.deliveries.push({ ...first, n: 900, fate, answered: null });
      });
      expect(broken[DOUBLED]).toEqual([`${messageIdOf(WHO.exhausted, 3)} was handed over 2 times`]);
    }
  });

  test('and not for one that was refused first and taken at the next try', () => {
    const broken = judged((facts) => {
      const taken = deliveryOf(facts, WHO.exhausted, 3);
      facts.deliveries.push({ ...taken, n: 900, fate: 'refused', fault: 'message-452', answered: 452 });
    });
    expect(broken).toEqual({});
  });

  test('P4 a mail that the ledger calls accepted and the mail server never took', () => {
    const broken = judged((facts) => {
      facts.deliveries = facts.deliveries.filter(({ messageId }) => messageId !== messageIdOf(WHO.exhausted, 4));
    });
    expect(broken[LOST]).toEqual([expect.stringContaining('the mail server never took it')]);
  });

  test('P4 an accepted mail whose 250 was never said, or that the server dropped', () => {
    expect(
      Object.keys(judged((facts) => Object.assign(deliveryOf(facts, WHO.exhausted, 4), { answered: null }))),
    ).toEqual([LOST]);
    expect(
      Object.keys(judged((facts) => Object.assign(deliveryOf(facts, WHO.exhausted, 4), { fate: 'lost' }))),
    ).toEqual([LOST]);
  });

  test('P4 a mail that the server took and the ledger lost, or takes for not handed over', () => {
    const gone = judged((facts) => {
      facts.messages = facts.messages.filter(({ messageId }) => messageId !== messageIdOf(WHO.waiting, 1));
    });
    expect(gone[LOST]).toContainEqual(expect.stringContaining('is not in the ledger'));
    const withdrawn = judged((facts) => {
      messageOf(facts, WHO.waiting, 1).state = 'withdrawn';
    });
    expect(withdrawn[LOST]).toContainEqual(expect.stringContaining('the ledger says withdrawn'));
  });

  test('P4 a step that was skipped without a trace', () => {
    const broken = judged((facts) => {
      const skipped = messageIdOf(WHO.exhausted, 7);
      facts.messages = facts.messages.filter(({ messageId }) => messageId !== skipped);
      facts.deliveries = facts.deliveries.filter(({ messageId }) => messageId !== skipped);
      facts.events = facts.events.filter(({ enrollmentId, step }) => enrollmentId !== WHO.exhausted || step !== 7);
    });
    expect(broken[LOST]).toEqual([`step 7 of ${WHO.exhausted} lies behind and is not in the ledger`]);
  });

  test('P4 a step that lies behind as deferred, or as refused though the mail server never refused it', () => {
    for (const state of ['deferred', 'rejected']) {
      const broken = judged((facts) => {
        const skipped = messageOf(facts, WHO.exhausted, 7);
        skipped.state = state;
        facts.deliveries = facts.deliveries.filter(({ messageId }) => messageId !== skipped.messageId);
      });
      expect(broken[LOST]).toEqual([`step 7 of ${WHO.exhausted} lies behind and is ${state}`]);
    }
    const refused = judged((facts) => {
      messageOf(facts, WHO.exhausted, 7).state = 'rejected';
      Object.assign(deliveryOf(facts, WHO.exhausted, 7), {
        fate: 'refused',
        fault: 'message-554-content',
        answered: 554,
      });
    });
    expect(refused).toEqual({});
  });

  test('P2 a stop that was refused since the journey had ended, and it had not', () => {
    const [at, kind] = [Date.UTC(2026, 0, 5, 9), 'pause'] as const;
    const open = judged((facts) => void facts.tooLate.push({ enrollmentId: WHO.waiting, kind, at }));
    expect(open[TYPED]).toEqual([`${WHO.waiting} had not ended when the answer to a pause said so`]);
    const ended = judged((facts) => void facts.tooLate.push({ enrollmentId: WHO.purchased, kind, at: facts.at }));
    expect(ended).toEqual({});
  });

  test('P12 a mailbox that does not exist and was mailed to the end', () => {
    const broken = judged((facts) => {
      for (const lead of facts.leads) if (lead.enrollmentId === WHO.exhausted) lead.unknownMailbox = true;
    });
    expect(broken[TYPED]).toEqual([`${WHO.exhausted} ended as exhausted, and nothing that happened ends one so`]);
  });

  test('P1 a second copy of the information', () => {
    const broken = judged((facts) => {
      const first = messageOf(facts, WHO.exhausted, 0);
      const delivery = deliveryOf(facts, WHO.exhausted, 0);
      const messageId = '<copy@chaos.example>';
      facts.messages.push({ ...first, copy: 1, messageId });
      facts.deliveries.push({ ...delivery, n: 900, messageId });
    });
    expect(broken[ONCE]).toEqual([`${WHO.exhausted} has the information in more than one copy`]);
  });

  test('P2 a mail after the answer to a purchase', () => {
    const broken = judged((facts) => {
      const [bought] = facts.stops;
      if (bought !== undefined) bought.at = (deliveryOf(facts, WHO.purchased, 2).ended ?? 0) - 1;
    });
    expect(broken).toEqual({
      [AFTER_STOP]: [`${messageIdOf(WHO.purchased, 2)} was handed over 1 ms after the answer to a purchase`],
    });
  });

  test('P2 a mail after the answer to an erasure that names another one', () => {
    const broken = judged((facts) => {
      for (const stop of facts.stops) if (stop.kind === 'erasure') stop.named = [messageIdOf(WHO.erased, 0)];
    });
    expect(Object.keys(broken)).toEqual([AFTER_STOP]);
  });

  test('P2 a mail during a pause, and not for one after it', () => {
    const broken = judged((facts) => {
      for (const stop of facts.stops) if (stop.kind === 'pause') stop.liftedAt = null;
    });
    expect(broken[AFTER_STOP]).toHaveLength(6);
    expect(broken[AFTER_STOP]?.[0]).toContain('after the answer to a pause');
  });

  test('P3 an unknown without a kill or a fault that could have made it', () => {
    const longBefore = 600_000;
    for (const corrupt of [
      (facts: Facts) => {
        facts.deaths = [];
      },
      (facts: Facts) => {
        for (const death of facts.deaths)
          Object.assign(death, {
            at: death.at - longBefore,
            deadAt: death.at - longBefore,
            servesAt: death.at - longBefore,
          });
      },
      // Carries no mail.
      (facts: Facts) => {
        for (const death of facts.deaths) death.kind = 'api';
      },
      (facts: Facts) => {
        facts.deaths = [];
        messageOf(facts, WHO.crashed, 2).code = 'connection-lost';
      },
      // Written by a worker that lived, while all around it was killed.
      (facts: Facts) => {
        messageOf(facts, WHO.crashed, 2).code = 'connection-lost';
        for (const death of facts.deaths) death.kind = 'frontend';
      },
      // The engine served again long before the mail was begun.
      (facts: Facts) => {
        const message = messageOf(facts, WHO.crashed, 2);
        for (const death of facts.deaths)
          Object.assign(death, {
            kind: 'history',
            at: message.claimedAt - 40_000,
            servesAt: message.claimedAt - 30_000,
          });
      },
    ]) {
      expect(Object.keys(judged(corrupt))).toEqual([UNEXPLAINED]);
    }
  });

  test('and not for one that the mail server made, which also says whether it had the mail', () => {
    for (const [fault, fate] of [
      ['message-drop-kept', 'kept'],
      ['message-drop-lost', 'lost'],
      ['message-hang-kept', 'kept'],
    ] as const) {
      const facts = factsOfARun();
      facts.deaths = [];
      messageOf(facts, WHO.crashed, 2).code = fault === 'message-hang-kept' ? 'deadline' : 'connection-lost';
      Object.assign(deliveryOf(facts, WHO.crashed, 2), { fault, fate, answered: null });
      const { findings, unknowns } = audit(facts);
      expect(findings.filter(({ breaches }) => breaches.length > 0)).toEqual([]);
      expect(unknowns[0]).toMatchObject({ because: `mail server: ${fault}`, serverHad: fate === 'kept' });
    }
  });

  test('nor for a body that was cut off, which the server never had', () => {
    const facts = factsOfARun();
    facts.deaths = [];
    messageOf(facts, WHO.crashed, 2).code = 'connection-lost';
    const delivery = deliveryOf(facts, WHO.crashed, 2);
    const { ended } = delivery;
    Object.assign(delivery, {
      fault: 'body-drop',
      fate: 'cut',
      answered: null,
      messageId: null,
      ended: null,
      gone: ended,
    });
    const { findings, unknowns } = audit(facts);
    expect(findings.filter(({ breaches }) => breaches.length > 0)).toEqual([]);
    expect(unknowns[0]).toMatchObject({ because: 'mail server: body-drop', serverHad: false });
  });

  test('P12 an enrollment that is open and overdue', () => {
    const broken = judged((facts) => {
      enrollmentOf(facts, WHO.waiting).nextDueAt = facts.at - 31_000;
    });
    expect(broken).toEqual({ [TYPED]: [`${WHO.waiting} is open and 31 s overdue`] });
  });

  test('P12 an ending that has no type, or that nothing has brought about', () => {
    for (const outcome of ['failed', 'cancelled', 'replied', 'bounced']) {
      const broken = judged((facts) => {
        enrollmentOf(facts, WHO.purchased).outcome = outcome;
      });
      expect(broken[TYPED]?.[0]).toContain(`${WHO.purchased} ended as ${outcome}`);
    }
  });

  test('P12 an enrollment that is open after a stop was answered', () => {
    const broken = judged((facts) => {
      enrollmentOf(facts, WHO.purchased).outcome = null;
      enrollmentOf(facts, WHO.purchased).nextDueAt = facts.at + 1;
      facts.runningJourneys.push(WHO.purchased);
    });
    expect(broken).toEqual({ [TYPED]: [`${WHO.purchased} is open after the answer to a purchase`] });
  });

  test('P12 what is stuck: a delivery without an end, a workflow that is missing, left over or not told', () => {
    for (const [corrupt, says] of [
      [
        (facts: Facts) => {
          messageOf(facts, WHO.erased, 1).state = 'handing_over';
        },
        'is still handing_over',
      ],
      [
        (facts: Facts) => {
          facts.runningJourneys = [];
        },
        'is open, and has no workflow',
      ],
      [(facts: Facts) => void facts.runningJourneys.push(WHO.purchased), 'its workflow goes on'],
      [
        (facts: Facts) => {
          enrollmentOf(facts, WHO.purchased).untold = true;
        },
        'was not told of a change',
      ],
      [
        (facts: Facts) => {
          enrollmentOf(facts, WHO.waiting).unstarted = true;
        },
        'was not started',
      ],
    ] as const) {
      expect(judged(corrupt)[STUCK]).toEqual([expect.stringContaining(says)]);
    }
  });

  test('and not for a mail past the gate whose attempt died after a stop, until the reconciler should have seen it', () => {
    const leaveBehind = (minutes: number) => (facts: Facts) => {
      const message = messageOf(facts, WHO.erased, 1);
      const delivery = deliveryOf(facts, WHO.erased, 1);
      const at = (delivery.ended ?? 0) + 1;
      Object.assign(message, { state: 'handing_over', settledAt: null, code: null });
      delivery.gone = at;
      facts.deaths.push({
        member: 'worker-2',
        kind: 'worker',
        at,
        deadAt: at,
        startedAt: at,
        servesAt: at + 9_000,
        byItself: false,
      });
      facts.at = at + minutes * 60_000;
      enrollmentOf(facts, WHO.waiting).nextDueAt = facts.at;
      enrollmentOf(facts, WHO.erased).step = 1;
    };
    expect(judged(leaveBehind(5))).toEqual({});
    expect(Object.keys(judged(leaveBehind(8)))).toEqual([LOST, STUCK]);
    const facts = factsOfARun();
    leaveBehind(5)(facts);
    expect(audit(facts).unknowns).toHaveLength(2);
  });

  test('P2 a body that begins after the answer, also when it is cut off', () => {
    const broken = judged((facts) => {
      const delivery = deliveryOf(facts, WHO.purchased, 2);
      const at = (delivery.ended ?? 0) + 60;
      facts.deliveries.push({
        ...delivery,
        n: 900,
        messageId: null,
        began: at,
        ended: null,
        fate: 'cut',
        answered: null,
        gone: at + 5,
      });
    });
    expect(broken).toEqual({
      [AFTER_STOP]: [`${WHO.purchased} was being sent something 10 ms after the answer to a purchase`],
    });
  });

  test('P1 an enrollment that was answered with 2xx and is gone, and a lead with two that are open', () => {
    const gone = judged((facts) => {
      facts.enrollments = facts.enrollments.filter(({ enrollmentId }) => enrollmentId !== WHO.waiting);
    });
    expect(gone[ONCE]).toEqual([`enrollment ${WHO.waiting} was answered with 2xx and is gone`]);
    const twice = judged((facts) => {
      // One that lasts but a moment, too.
      const first = enrollmentOf(facts, WHO.informed);
      facts.enrollments.push({ ...first, enrollmentId: uuid(99), begunAs: (first.begunAs ?? 0) + 0.5 });
    });
    expect(twice[ONCE]).toEqual([`lead lead-${WHO.informed} has ${uuid(99)} beside ${WHO.informed}`]);
    const beside = judged((facts) => {
      facts.enrollments.push({ ...enrollmentOf(facts, WHO.waiting), enrollmentId: uuid(99), begunAs: 98, step: 0 });
    });
    expect(beside[ONCE]).toEqual([`lead lead-${WHO.waiting} has ${uuid(99)} beside ${WHO.waiting}`]);
  });

  test('P1 it is no breach that somebody begins anew whose enrollment has ended', () => {
    const anew = judged((facts) => {
      const first = enrollmentOf(facts, WHO.informed);
      // What its process took for the time of the request lies before that end.
      facts.enrollments.push({ ...first, enrollmentId: uuid(99), begunAs: 98, endedAs: 99 });
    });
    expect(anew[ONCE]).toBeUndefined();
  });

  test('P7 a nudge to somebody who had agreed to none', () => {
    const broken = judged((facts) => {
      for (const lead of facts.leads) if (lead.enrollmentId === WHO.purchased) lead.agrees = false;
    });
    expect(broken['P7 no nudge without consent']).toHaveLength(2);
  });

  test('P10 steps out of order, and a mail that goes to somebody else', () => {
    const swapped = judged((facts) => {
      const [second, third] = [deliveryOf(facts, WHO.exhausted, 2), deliveryOf(facts, WHO.exhausted, 3)];
      [second.messageId, third.messageId] = [third.messageId, second.messageId];
    });
    expect(swapped['P10 steps go out in their order']).toEqual([`step 2 went to ${WHO.exhausted} after step 3`]);
    const elsewhere = judged((facts) => {
      deliveryOf(facts, WHO.exhausted, 2).to = 'somebody.else@chaos.example';
    });
    expect(elsewhere['P10 steps go out in their order']).toEqual([`step 2 of ${WHO.exhausted} went to somebody else`]);
  });

  test('P10 a mail before it is due, and a lead who is given up too early', () => {
    const mailed = judged((facts) => {
      const delivery = deliveryOf(facts, WHO.exhausted, 5);
      delivery.began = (delivery.began ?? 0) - 9;
    });
    expect(mailed['P10 no mail goes out before it is due']).toEqual([`step 5 of ${WHO.exhausted} went out 1 ms early`]);
    const givenUp = judged((facts) => {
      enrollmentOf(facts, WHO.exhausted).endedAt = (enrollmentOf(facts, WHO.exhausted).endedAt ?? 0) - 11;
    });
    expect(givenUp['P10 no mail goes out before it is due']).toEqual([`${WHO.exhausted} was given up 1 ms early`]);
  });
});
