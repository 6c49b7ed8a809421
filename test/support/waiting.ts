/** A door that a test opens: whoever waits at it is held until then. */
export interface Door {
  /** Resolves when somebody stands at the door. */
  reached: Promise<void>;
  /** For the one who is held. */
  wait(): Promise<void>;
  open(): void;
}

export function door(): Door {
  let arrive = () => {};
  let open = () => {};
  const reached = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return {
    reached,
    wait: () => {
      arrive();
      return opened;
    },
    open: () => open(),
  };
}

/**
 * Resolves once `probe` answers something truthy, and fails after `ms`, with the probe's own error if it throws: a minute
 * unless told otherwise, since what is waited for may go through several processes and heartbeat timeouts on a busy machine.
 */
export async function eventually<T>(probe: () => T | Promise<T>, ms = 60_000): Promise<NonNullable<T>> {
  const deadline = Date.now() + ms;
  for (;;) {
    try {
      const answer = await probe();
      if (answer) return answer as NonNullable<T>;
      if (Date.now() > deadline) throw new Error('what was waited for did not happen');
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
