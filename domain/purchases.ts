import type { CampaignDefinition } from './campaign';

/** A campaign as a purchase sees it. */
export interface AboutProduct {
  campaignId: string;
  product: CampaignDefinition['product'];
  endsOnAnyPurchase?: boolean | undefined;
}

/** What is known of what was bought. */
export interface Bought {
  /** The campaign whose product it was, where the shop said so. */
  campaign?: AboutProduct | undefined;
  /** The campaign's id alone is known, where there is no such campaign. */
  campaignId?: string | undefined;
  /** The shop's codes of what was bought. */
  products?: readonly string[] | undefined;
}

/**
 * Why a purchase ends the follow-up of a campaign: it was about the same product; nobody can tell that it was not; or the
 * campaign is to end with any purchase.
 */
export type EndsBecause = 'same-product' | 'unknown-product' | 'any-purchase';

/**
 * Whether a purchase ends the follow-up of a campaign, and why; null: it was about another product. What can't be told is
 * ended: nobody should be asked to buy what they have.
 */
export function endedBy(campaign: AboutProduct, bought: Bought): EndsBecause | null {
  const products = codes(bought.products);
  const named = bought.campaignId !== undefined || bought.campaign !== undefined;
  if (!named && products.size === 0) return 'unknown-product';
  if (isSameProduct(campaign, bought, products)) return 'same-product';
  if (campaign.endsOnAnyPurchase === true) return 'any-purchase';
  return !named && codes(campaign.product.codes).size === 0 ? 'unknown-product' : null;
}

function isSameProduct(campaign: AboutProduct, bought: Bought, products: ReadonlySet<string>): boolean {
  if (campaign.campaignId === (bought.campaign?.campaignId ?? bought.campaignId)) return true;
  const own = codes(campaign.product.codes);
  const theirs = codes(bought.campaign?.product.codes);
  if ([...own].some((code) => products.has(code) || theirs.has(code))) return true;
  return bought.campaign !== undefined && sameProduct(campaign.product, bought.campaign.product);
}

/** Whether two campaigns are about the same product, by their codes and by its page. */
export function sameProduct(one: CampaignDefinition['product'], other: CampaignDefinition['product']): boolean {
  const theirs = codes(other.codes);
  return pageOf(one.url) === pageOf(other.url) || [...codes(one.codes)].some((code) => theirs.has(code));
}

/** Shops are not careful with their codes. */
function codes(given: readonly string[] | undefined): Set<string> {
  return new Set((given ?? []).map((code) => code.trim().toLowerCase()).filter((code) => code !== ''));
}

/** The address of a page, however it is written; fragments and what visits are counted by are no part of it. */
function pageOf(url: string): string {
  if (!URL.canParse(url)) return url.trim();
  const page = new URL(url);
  for (const name of [...page.searchParams.keys()]) if (/^utm_/i.test(name)) page.searchParams.delete(name);
  return `${page.host}${page.pathname.replace(/\/+$/, '')}${page.search}`.toLowerCase();
}
