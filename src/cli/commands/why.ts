import type { Holder } from '../../metadata/holders.js';
import { familiarImage } from '../../spec/any-image.js';
import type { WhyReport } from '../../store/upkeep/why.js';
import type { Command } from '../command.js';

/** `larder why DIGEST|PATH` */
export const why: Command = async ({ larder }, [name = '']) => {
  const reports = await (await larder()).why(name);
  const text = reports.length === 0 ? `${name}: not in the store` : reports.map(explain).join('\n');
  return { data: reports, text };
};

function explain({ what, name, holders, verdict }: WhyReport): string {
  const subject = `${KINDS[what]} ${name}`;
  if (verdict === 'absent') return `${subject}: not in the store`;
  if (verdict === 'garbage') return `${subject}: nothing holds it: the next prune takes it`;
  return [`${subject} is held by`, ...holders.map((holder) => `  ${sentence(holder)}`)].join('\n');
}

const KINDS = { layer: 'layer', blob: 'document', merged: 'merged image', chain: 'overlay directory' } as const;

function sentence(holder: Holder): string {
  switch (holder.kind) {
    case 'image':
      return `image ${familiarImage(holder)} (${holder.platform}${holder.pinned ? ', pinned' : ''}): ${holder.as}`;
    case 'container':
      return holder.volume === ''
        ? `container ${holder.container}`
        : `container ${holder.container}: volume ${holder.volume}`;
    case 'lease':
      return `a running pull or program (handle ${holder.handle})`;
    case 'active':
      return 'the last prune, which was told that it is in use';
  }
}
