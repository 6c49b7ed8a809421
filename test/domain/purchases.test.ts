import { type AboutProduct, type Bought, endedBy } from '../../domain/purchases';

const URL_OF_COFFEE = 'https://shop.example/cafetera';

function campaign(campaignId: string, change: Partial<AboutProduct> & { codes?: string[]; url?: string } = {}) {
  const { codes, url = `https://shop.example/${campaignId}`, ...rest } = change;
  return { campaignId, product: { name: campaignId, url, ...(codes && { codes }) }, ...rest } satisfies AboutProduct;
}

const coffee = campaign('coffee', { codes: ['BRAVA-1', 'BRAVA-2'], url: URL_OF_COFFEE });
const coffeeAgain = campaign('coffee-again', { codes: ['brava-2 '], url: 'https://shop.example/otra' });
const coffeePage = campaign('coffee-page', { codes: ['X'], url: `${URL_OF_COFFEE}/?utm_source=mail#top` });
const tea = campaign('tea', { codes: ['TE-1'] });
const codeless = campaign('codeless');
const greedy = campaign('greedy', { codes: ['OTHER'], endsOnAnyPurchase: true });

describe('P2 which follow-ups a purchase ends', () => {
  const saysNothing: Bought = {};
  const byCode: Bought = { products: ['brava-1'] };
  const byCampaign: Bought = { campaignId: 'coffee', campaign: coffee };
  const byBoth: Bought = { ...byCampaign, products: ['TE-1'] };
  const byUnknownCampaign: Bought = { campaignId: 'gone' };

  test.each([
    ['nothing is said', saysNothing, coffee, 'unknown-product'],
    ['nothing is said', saysNothing, codeless, 'unknown-product'],
    ['nothing is said', { products: [] }, tea, 'unknown-product'],
    ['nothing is said', { products: [' '] }, greedy, 'unknown-product'],
    ['its code', byCode, coffee, 'same-product'],
    ['its code', byCode, tea, null],
    ['its code', byCode, codeless, 'unknown-product'],
    ['its code', byCode, greedy, 'any-purchase'],
    ['another code of it', byCode, coffeeAgain, null],
    ['the campaign', byCampaign, coffee, 'same-product'],
    ['the campaign, by a code that both have', byCampaign, coffeeAgain, 'same-product'],
    ['the campaign, by the page that both have', byCampaign, coffeePage, 'same-product'],
    ['the campaign', byCampaign, tea, null],
    ['the campaign', byCampaign, codeless, null],
    ['the campaign', byCampaign, greedy, 'any-purchase'],
    ['the campaign, and the code of another product', byBoth, tea, 'same-product'],
    ['a campaign that there is not', byUnknownCampaign, coffee, null],
    ['a campaign that there is not', byUnknownCampaign, greedy, 'any-purchase'],
  ] as const)('told %s', (_, bought, about, because) => {
    expect(endedBy(about, bought)).toBe(because);
  });
});
