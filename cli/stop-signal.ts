/**
 * Resolves with the signal that asks this process to stop: Ctrl-C, a process manager's SIGTERM, or a closed terminal.
 * Further signals do nothing here.
 */
export function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve(signal));
  });
}
