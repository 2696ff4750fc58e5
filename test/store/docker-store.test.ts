import { storeConformance } from '../../src/testing/conformance/store.js';
import { dockerStoreFixture } from '../helpers/docker-store.js';

storeConformance('the docker store', () => dockerStoreFixture());
