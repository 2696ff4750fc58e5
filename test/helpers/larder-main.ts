/** The command of this build, whichever directory it was built into. */
import { main } from '../../src/cli/main.js';

process.exitCode = await main(process.argv.slice(2));
