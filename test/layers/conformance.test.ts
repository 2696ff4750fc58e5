import { layerWriterConformance } from '../../src/testing/conformance/layer-writer.js';
import { createFixture } from './fixture.js';

layerWriterConformance('the worker pipeline', createFixture);
