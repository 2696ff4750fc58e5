import { test } from 'node:test';
import { provisionerConformance } from '../../src/testing/conformance/provisioner.js';
import { daemonProvisionerFixture } from '../helpers/daemon-provisioner.js';
import { needsRoot } from '../helpers/temporary.js';

provisionerConformance(
  'the provisioner behind a socket, with erofs',
  () => daemonProvisionerFixture('erofs'),
  (name, _, body) => test(name, { skip: needsRoot }, body),
);

provisionerConformance('the provisioner behind a socket, with copies', () => daemonProvisionerFixture('copy'));
