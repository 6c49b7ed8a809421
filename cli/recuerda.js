#!/usr/bin/env node

// Plain JavaScript that any Node understands, so that one that is too old is told so in words.
const wanted = require('../package.json').engines.node.replace('>=', '').split('.').map(Number);
const present = process.versions.node.split('.').map(Number);
if (present[0] < wanted[0] || (present[0] === wanted[0] && present[1] < wanted[1])) {
  console.error(
    `Recuerda needs Node ${wanted.join('.')} or newer, and this is Node ${process.versions.node}. ` +
      'Install a current Node (see nodejs.org), then run `npm ci` again.',
  );
  process.exit(1);
}

try {
  // The sources run as they are, without a build.
  require('tsx/cjs');
} catch (error) {
  if (error.code !== 'MODULE_NOT_FOUND') throw error;
  console.error("Recuerda's packages are not installed. Run `npm ci` in its folder first.");
  process.exit(1);
}
require('./main.ts');
