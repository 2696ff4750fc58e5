import { test } from 'node:test';
import { provisionerConformance } from '../../src/testing/conformance/provisioner.js';
import { provisionerFixture } from '../helpers/provisioner.js';
import { needsRoot } from '../helpers/temporary.js';

provisionerConformance(
  'the provisioner with erofs',
  () => provisionerFixture('erofs'),
  (name, _, body) => test(name, { skip: needsRoot }, body),
);

provisionerConformance('the provisioner with copies', () => provisionerFixture('copy'));
