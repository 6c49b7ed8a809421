import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BounceFinding, InboundKind, MatchedBy, RequestKind } from '../../../domain/inbound';

/** What a person says of one message of the corpus. What is left out isn't checked. */
export interface Label {
  kind: InboundKind;
  subtype?: string | null;
  bounce?: Partial<BounceFinding>;
  returnDate?: string | null;
  requests?: RequestKind[];
  needsReview?: boolean;
  /** By what it is matched to the enrollment whose token it carries; null: by nothing. */
  matched?: MatchedBy | null;
  /** One that simple rules get wrong: it must be right. */
  trap?: boolean;
  lang?: string;
}

const CORPUS = join(__dirname, '../../corpus');

/** Every labelled message, of all label files. */
export function labelledMessages(): Array<{ file: string; label: Label; raw: Buffer }> {
  return readdirSync(join(CORPUS, 'labels'))
    .filter((name) => name.endsWith('.json'))
    .sort()
    .flatMap((name) => {
      const labels: Record<string, Label> = JSON.parse(readFileSync(join(CORPUS, 'labels', name), 'utf8'));
      return Object.entries(labels).map(([file, label]) => ({ file, label, raw: readFileSync(join(CORPUS, file)) }));
    });
}

/** The message files that lie in the corpus, labelled or not. */
export function filesInCorpus(): string[] {
  return readdirSync(CORPUS, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.eml'));
}
