/** How many answers are kept before all are dropped: columns such as dates and zones repeat few values very often. */
const MOST = 5_000;

/** The same function with its answers kept for a while, for pure and costly ones. */
export function remembered<T>(read: (text: string) => T): (text: string) => T {
  const answers = new Map<string, T>();
  return (text) => {
    if (answers.has(text)) return answers.get(text) as T;
    const answer = read(text);
    if (answers.size >= MOST) answers.clear();
    answers.set(text, answer);
    return answer;
  };
}
