/**
 * Where Mesos's provisioner falls short, one sentence each, and the test that shows that larder does not; or what
 * SCOPE.md says. The numbers are those of docs/mesos.md.
 */
import { type Answer, scope, tests } from './counterparts.js';

export interface Flaw {
  readonly group: number;
  /** Of Mesos. */
  readonly flaw: string;
  readonly answer: Answer;
}

const MESOS = 'test/mesos/';
const SINGLE = 'test/mesos/single-flaws.test.ts';
const STORE = 'src/testing/conformance/store.ts';
const FAULTS = 'src/testing/conformance/store-faults.ts';
const STORE_PRUNE = 'src/testing/conformance/store-prune.ts';
const CONTAINERS = 'src/testing/conformance/provisioner.ts';
const BACKEND = 'src/testing/conformance/backend.ts';
const METADATA = 'src/testing/conformance/metadata-manager.ts';
const CLIENT = 'test/registry/registry-client.test.ts';
const AUTH = 'test/registry/auth.test.ts';
const CREDENTIALS = 'test/registry/credentials.test.ts';
const APPC_FETCH = 'test/registry/appc-fetch.test.ts';
const REFUSED = 'test/store/appc-refused.test.ts';
const APPC_PULL = 'test/store/appc-pull.test.ts';
const UPKEEP = 'test/store/appc-upkeep.test.ts';
/** The cases that hostile-archives.test.ts and the corpus run. */
const HOSTILE = 'test/corpus/docker-archives.ts';
const ARCHIVE = 'test/store/docker-archive.test.ts';
const PRIVATE = 'test/store/private-images.test.ts';
const POLICY = 'test/store/gc-policy.test.ts';
const PRUNE = 'test/store/prune.test.ts';
const PROVISIONER = 'test/provisioner/mesos-provisioner.test.ts';
const LEFTOVERS = 'test/provisioner/leftovers.test.ts';
const MANIFEST = 'test/spec/manifest.test.ts';
const REBUILD = 'test/metadata/rebuild.test.ts';

const SIGNATURES = scope('Signatures of Docker and OCI images, and policies about them.');
const COMPRESSED = scope('Keeping the compressed layers beside the tars.');
const ROOTLESS = scope('Root filesystems in a user namespace.');
const SNAPSHOTS = scope('**Snapshots of btrfs, ZFS or LVM, and reflinks**');

const TABLE: Readonly<Record<number, Readonly<Record<string, Answer>>>> = {
  // Integrity
  1: {
    'a manifest is not compared with the digest that was asked for': [
      ...tests(CLIENT, 'a digest refuses other bytes'),
      ...tests(`${MESOS}docker-pulls.test.ts`, 'ROOT_INTERNET_CURL_ImageDigest: by a digest it is these very bytes'),
    ],
    'a config is not compared with its digest': tests(FAULTS, 'a config with other bytes'),
    'a blob is not compared with its digest': tests(FAULTS, 'a layer with other bytes'),
    'sizes are not compared': tests(FAULTS, 'a layer that is not of the size that its manifest says'),
    'DiffIDs are ignored': tests(FAULTS, 'a layer whose tar is not of its DiffID'),
    'signatures are ignored': [SIGNATURES, ...tests('test/registry/appc-trust.test.ts', 'by a configured key is good')],
  },
  2: {
    'an Appc image of another id is taken': tests(
      REFUSED,
      'has another id than the one that was asked for (Mesos took it)',
    ),
    'an Appc image of another name is taken': tests(REFUSED, 'has another name than the one that was asked for'),
    'an Appc image with other labels is taken': tests(
      REFUSED,
      'has no label that was asked for',
      'has another version',
    ),
    'the validators of layout and id are not used': tests(
      REFUSED,
      'has more than manifest and rootfs',
      'has a link for a rootfs',
      'has no manifest',
    ),
    'no signatures of Appc images': tests(
      APPC_FETCH,
      'says who signed it',
      'is refused without a signature, and before it was downloaded',
    ),
  },
  3: {
    'stored layers are never verified again': tests(
      'test/check.test.ts',
      'finds a flipped bit of a layer only when it reads every byte',
    ),
    'a forced pull cannot repair': [
      ...tests('test/healing/healing.test.ts', '200 flipped bits are found and made whole by a pull or repair'),
      ...tests('test/repair.test.ts', 'asks for the recorded digest only: a tag that has moved stays what it is here'),
    ],
    'nothing checks a store': tests('test/check.test.ts', 'finds nothing in a store that is whole', 'finds …'),
  },
  4: {
    'a digest may be a path': tests(MANIFEST, 'with the digest … (…) is refused'),
    'an id in an archive may be a path': tests(
      HOSTILE,
      'A05: a repositories whose id climbs out',
      'A05: a parent that climbs out',
    ),
    'a layer of an archive may be outside of it': tests(
      HOSTILE,
      'A01: layers outside the archive',
      'A02: a layer that is a symlink to a file of the host',
    ),
    'an Appc id may be a path': tests(
      REFUSED,
      'no caller can name: paths in a name, an id or a label never reach a disk',
    ),
    'a v1 object in a history ends the agent': tests(
      `${MESOS}schema1.test.ts`,
      'flaw 4: with a v1 object in its history',
    ),
    'an image JSON without config ends the agent': tests(
      `${MESOS}runtime.test.ts`,
      'flaw 4: an image whose JSON has no config',
    ),
    'an image without layers ends the agent': tests(MANIFEST, 'has no layers'),
    'parents in a circle never end': tests(
      HOSTILE,
      'A06: a layer that is its own parent',
      'A06: layers that are each other',
    ),
    'Appc dependencies in a circle never end': tests(REFUSED, 'depends on images that go in a circle'),
  },

  // Durability
  5: {
    'nothing is synced to disk': [
      ...tests(SINGLE, 'flaw 5: a layer and what names it are on disk before a pull says so'),
      ...tests('test/metadata/database.test.ts', 'writes are durable: WAL, synchronous=FULL, foreign keys'),
    ],
    'a cut list of images keeps the agent from starting': tests(
      REBUILD,
      'comes back with all images, and is kept aside',
      'has pages of noise',
      'is gone with all of metadata/ but the names',
    ),
    'a cut list of a container’s layers keeps the agent from starting': [
      ...tests(REBUILD, 'leaves a container on … as it is, and prune its layers'),
      ...tests(LEFTOVERS, 'destroys a container whose claim is lost, and whose directory is lost'),
    ],
  },
  6: {
    'staging of dead pulls stays': tests(
      'test/layers/layer-store.test.ts',
      'recovers: removes the staging of the dead, keeps that of the living, and sweeps',
    ),
    'temporary files of checkpoints stay': [
      ...tests('test/linux/durable.test.ts', 'a rename that fails leaves no temporary file'),
      ...tests('test/content/content-store.test.ts', 'recover removes what killed writers left'),
    ],
    'temporary directories of failed Appc fetches stay': [
      ...tests(APPC_FETCH, 'that is too large is not kept'),
      ...tests(REFUSED, 'is no archive at all', 'ends early'),
      ...tests(UPKEEP, 'when all who wait cancel, the pull ends, and nothing of it is in the way'),
    ],
    'directories of links stay when a mount fails': [
      ...tests('test/backends/chain-directories.test.ts', 'leave nothing when they could not be made'),
      ...tests(CONTAINERS, 'a provision whose backend fails leaves nothing, and the name is free'),
    ],
  },
  7: {
    'put answers from memory what was never written': tests(
      METADATA,
      'a record that cannot be written leaves the old answer, and a later put succeeds',
    ),
    'prune forgets in memory before it has written': tests(
      PRUNE,
      'a prune that is killed before any step leaves no fault, and the next prune takes everything',
    ),
  },
  8: {
    'prune of a store that was never used fails': tests(
      SINGLE,
      'flaw 8: prune of a store into which nothing was pulled',
    ),
    'prune stops half way at the first error': tests(
      PRUNE,
      'what cannot be moved is told and stays, and the rest goes',
    ),
  },
  9: {
    'what a layer lost beside its files does not come back': [
      ...tests(ARCHIVE, 'ProvisionerDockerLocalStoreTest.MissingLayer'),
      ...tests(STORE, 'an image whose config is lost on disk is pulled again'),
    ],
  },

  // Concurrency
  10: {
    'what two references share is fetched twice': tests(
      STORE,
      'images that share a layer, pulled at once, fetch it once',
    ),
    'callers with other credentials share one pull': tests(
      PRIVATE,
      'gets each caller what this caller’s credentials reach, also at the same time',
    ),
    'callers with another backend share one pull, whose layers do not fit': tests(
      PROVISIONER,
      'flaw 22: each container may have a backend of its own, on one store',
    ),
    'a pull that was given up forgets its successor': tests(
      'test/concurrency/concurrency.test.ts',
      'a run that ends after it was given up does not end its successor',
    ),
    'two pulls that share a layer fail each other': tests(
      STORE,
      'images that share a layer, pulled at once, fetch it once',
    ),
    'when one download fails, the others go on into a directory that is gone': tests(
      SINGLE,
      'flaw 10: when one layer fails, the others end with it',
    ),
  },
  11: {
    'a prune that waits for a slow pull stops all launches': tests(
      PROVISIONER,
      'flaw 11: a prune beside a pull that hangs keeps no container waiting',
    ),
    'destroying nested containers beside a prune is a deadlock': tests(
      PROVISIONER,
      'flaw 11: a destroy of nested containers and a prune that waits between them',
    ),
    'a destroy after a failed one hangs': tests(
      LEFTOVERS,
      'says what keeps it from destroying a container, and goes on with it',
    ),
  },
  12: {
    'two agents over one store damage each other': [
      ...tests(PROVISIONER, 'flaw 12: two provisioners over one store never give one name twice'),
      ...tests(
        'test/nemesis/nemesis.test.ts',
        'processes that share a store, are killed at random and live by clocks that jump harm nobody',
      ),
    ],
    'layers of image volumes are not protected': tests(
      PROVISIONER,
      'flaw 12: of several images of a container the first is protected',
    ),
    'config files are not protected': tests(
      PROVISIONER,
      'flaw 12: of several images of a container the first is protected',
    ),
  },

  // Network
  13: {
    'no resume': tests(STORE, 'a pull goes on where a killed process left it'),
    'no retry': [
      ...tests(FAULTS, 'a broken connection is gone on with where it broke'),
      ...tests(CLIENT, 'three times with 503 is asked again, and each retry is told'),
    ],
    'no backoff': tests(CLIENT, 'with Retry-After is left alone for so long'),
    'no mirrors': tests('test/e2e/mirrors.test.ts', 'a mirror that is there is all that is asked'),
    'all blobs are fetched at once': tests(SINGLE, 'flaw 13: no more layers are fetched at once than the setting says'),
    'a download may take for ever': tests(
      'test/registry/fetch-blob.test.ts',
      'that stalls for good is a time-out',
      'is given up at once when cancelled',
    ),
    'no progress': tests('test/layers/layer-writer.test.ts', 'tells its progress, from nothing to everything'),
    'a token for each request': tests(AUTH, 'needs one for everything in a repository'),
    'a request more for each blob that wants a login': tests(AUTH, 'needs one for everything in a repository'),
  },
  14: {
    'logins are arguments of curl, for all to see': tests(
      PRIVATE,
      'leaves neither password nor token in files, events, errors and arguments',
    ),
    'manifests of any size are held in memory': tests(
      CLIENT,
      'refuses a manifest of more than 4 MiB without reading it',
    ),
    'headers go along with redirects to other hosts': tests(
      'test/registry/redirects.test.ts',
      'to another host takes no … credential and no header of ours along',
    ),
  },
  15: {
    'any host with docker.io in its name gets Docker Hub’s login': tests(CREDENTIALS, 'under … are Docker Hub'),
    'quay.io in a config is not quay.io:443': tests(CREDENTIALS, 'are found by the exact host, with its port'),
    'passwords go wherever the registry says': tests(
      AUTH,
      'gets none in another domain, and that is said',
      'is refused as … of …',
    ),
    'no credential helpers': tests(
      'test/registry/credential-helper.test.ts',
      'is asked with `get` and the server on its standard input',
    ),
    'no identity tokens': tests('test/registry/token-server.test.ts', 'gives it for an identity token, sent by POST'),
    'no access_token': tests(AUTH, 'with a token (…) needs one for everything in a repository'),
    'an image that is here is given to who could not have fetched it': [
      scope("**Tenants who must not see each other's images, without a daemon.**"),
      ...tests(
        'test/daemon/guests.test.ts',
        'get an image that is here because of another one’s login only with one of their own',
      ),
    ],
  },
  16: {
    'no IPv6': tests(SINGLE, 'flaw 16: a registry may be named by an IPv6 address'),
    'no paths in the address of a registry': [scope('A path behind the host in `docker_registry`')],
    'docker.io is no name of Docker Hub’s API': tests(
      'test/spec/reference.test.ts',
      'docker.io/alpine',
      'on Docker Hub has its API elsewhere',
    ),
    'no authorities of one’s own, no exceptions by registry': tests(
      'test/registry/tls.test.ts',
      'of a loopback registry is found out, and trusted through caFiles',
      'is not verified for a host that was named insecure',
    ),
  },

  // Formats
  17: {
    'no OCI manifests': tests(MANIFEST, 'is parsed with its layers in order'),
    'no OCI layouts': tests('test/store/oci-layout.test.ts', 'gives each of several images by its name or number'),
    'no manifest lists, no platforms': [
      ...tests(`${MESOS}docker-pulls.test.ts`, 'flaw 17: of an image index it is this machine’s image that runs'),
      ...tests(STORE, 'each platform of one name is an image of its own'),
    ],
    'zstd only where tar knows it': tests(
      'test/store/docker-archive.test.ts',
      'layers in … are proven by what they hash to',
    ),
    'no foreign layers': tests(
      'test/store/foreign-layers.test.ts',
      'comes from a host that the setting names, without a login',
    ),
    'no manifest.json of docker save': tests(
      ARCHIVE,
      'each image is found by its name, and layers that images share are stored once',
    ),
    'no archives of several images': tests(
      ARCHIVE,
      'each image is found by its name, and layers that images share are stored once',
    ),
    'no encryption': [scope('**Encrypted layers** (`+encrypted`).')],
    'no lazy pulling': [scope('Lazy mounts: a layer is fetched as a whole before it is used.')],
    'a Content-Type with a parameter is another one': tests(
      MANIFEST,
      'may leave its media type to the Content-Type, with parameters',
    ),
  },
  18: {
    'owners are what the host’s names say': tests(
      SINGLE,
      'flaw 18: an owner is the number in the tar, whatever the name beside it',
    ),
    'extended attributes and capabilities are lost': [
      ...tests(BACKEND, 'owners, device nodes and xattrs are kept'),
      ...tests('test/tree/index-builder.test.ts', 'T53 T62 Capabilities and valid ACLs are kept byte for byte'),
    ],
    'whiteouts need root': tests(SINGLE, 'flaw 18: whiteouts hide for users without privileges, too'),
    'a name beside its own whiteout fails the pull': tests(
      `${MESOS}docker-pulls.test.ts`,
      'flaw 18: a layer with a name and its own whiteout',
    ),
    'nothing without root': [ROOTLESS, ...tests('test/backends/copy.test.ts', 'can be destroyed by them')],
    'Appc layers are not made ready for overlay': tests(
      'test/tree/rootfs-view.test.ts',
      'refuses whiteouts, which Appc does not know',
    ),
  },

  // Storage
  19: {
    'the same layer is stored under each kind of id': [
      ...tests(STORE, 'an image by tag and by digest share their layers'),
      ...tests(
        'test/e2e/cross-check.test.ts',
        'two images with the same layers in different compressions are one tree',
      ),
    ],
    'the same layer is stored for each family of backends': tests(
      PROVISIONER,
      'flaw 22: each container may have a backend of its own',
    ),
    'what is stored cannot be proven': tests(
      'test/check.test.ts',
      'finds a flipped bit of a layer only when it reads every byte',
    ),
    'what is stored cannot be pushed or exported as it came': [COMPRESSED],
    'no sharing of files between layers': [
      scope('Files that different layers have in common are stored in each of them.'),
    ],
  },
  20: {
    'all images that nobody uses go at once': tests(POLICY, 'the least recently used, as many as the low mark needs'),
    'no age': tests(POLICY, 'an image as old as the minimum age goes, a younger one stays'),
    'no size': tests(POLICY, 'a store of 500 bytes at most: 501 is, on a disk with room'),
    'no pins, no leases': [
      ...tests(POLICY, 'not an image that is …'),
      ...tests(PRUNE, 'a pinned image stays until prune --all'),
      ...tests(STORE_PRUNE, 'what is held is not pruned before it is given back'),
    ],
    'no dry run': tests(STORE_PRUNE, 'a dry run tells what a prune then removes, and removes nothing'),
    'no report': tests('test/cli/commands.test.ts', 'remove and prune say what went, a dry run what would go'),
    'only the whole file system is looked at': tests(
      POLICY,
      'a store of 500 bytes at most: 501 is, on a disk with room',
    ),
    'failures are not told': tests(
      'test/daemon/gc-timer.test.ts',
      'a failure is told, and the next interval tries again',
    ),
    'Appc images are never collected': tests(UPKEEP, 'prune really prunes (Mesos never did)'),
    'what is excluded is compared as text': [
      ...tests(`${MESOS}docker-specs.test.ts`, 'flaw 20: a name is one image however it is written'),
      ...tests(STORE_PRUNE, 'a name without a tag excludes latest, and nothing else'),
    ],
  },
  21: {
    'another spelling of the store’s path loses the protection of layers in use': tests(
      PROVISIONER,
      'flaw 21: a store that is opened under another spelling of its path protects the same layers',
    ),
  },

  // Backends
  22: {
    'one backend for all containers': tests(
      PROVISIONER,
      'flaw 22: each container may have a backend of its own, on one store',
    ),
    'overlay only where its module is loaded already': tests(
      'test/backends/choose-backend.test.ts',
      'works here, says so in one sentence and leaves nothing behind',
    ),
    'all but copy need root, and say nothing': tests(
      'test/backends/choose-backend.test.ts',
      'without root is told that mounting needs it',
    ),
    'another file system is probed than the one that is used': tests(
      'test/backends/choose-backend.test.ts',
      'erofs on a file system that cannot back it goes through loop devices, probed and mounted',
    ),
    'no snapshots, no reflinks': [SNAPSHOTS],
    'no read-only overlay': tests(BACKEND, 'a read-only root filesystem refuses writing'),
    'nothing for users without privileges': [
      ...tests('test/backends/copy.test.ts', 'belong to them and keep modes, times'),
      ROOTLESS,
    ],
    'what containers write into copies is not charged': tests(
      PROVISIONER,
      '6.11: what all writable root filesystems take is reported',
    ),
  },

  // API and operation
  23: {
    'no way to list, look into, pull or remove an image': tests(
      'test/cli/commands.test.ts',
      'images lists what is here',
      'inspect shows layers and how to run it',
      'remove and prune say what went',
    ),
    'when an image was used last is not known': tests(METADATA, 'touching notes a later use, and never an earlier one'),
    'almost no metrics': tests(
      'test/daemon/api.test.ts',
      'counts in a form that Prometheus reads, and shows the store as it is',
    ),
    'the image’s user is ignored': tests(
      'test/cli/run.test.ts',
      'runs what the image asks for, in its directory, with its variables, as its user',
    ),
    'stop signal, volumes and health check are ignored': [
      ...tests('test/spec/runtime.test.ts', 'has ports, volumes, labels and the health check'),
      ...tests('test/cli/bundle.test.ts', 'a bundle carries what has no place of its own as annotations'),
    ],
    'a wrong setting ends the process': tests(
      'test/config.test.ts',
      'is refused with its value and its place when it is wrong',
    ),
    'a fetcher that cannot be made is missed only later': tests(
      'test/store/archive-directory.test.ts',
      'without a hadoop command says so',
    ),
  },

  // What its sources say is yet to be done, and is not above
  24: {
    'v1 images are not validated': tests('test/spec/docker-v1.test.ts', 'like … is refused'),
    'one puller for an agent': tests('test/e2e/archives.test.ts', 'podman saved, in each of its formats'),
    'no archives over HTTP': [scope('Archives from web servers.')],
    'names with a slash have no archive in HDFS': tests('test/store/archive-directory.test.ts', 'library/alpine.tar'),
    'layers that a pull skips may be missing': tests(
      STORE,
      'a layer that is lost on disk is pulled again, and only that',
    ),
    'the store’s own directory is not validated': tests(
      'test/store-root.test.ts',
      'is not what has other things in it',
    ),
    'Appc labels are compared as text': tests(
      APPC_PULL,
      'with labels in another order, or with the words of another tool',
    ),
    'a label may be there twice': tests(REFUSED, 'has two labels of one name'),
    'Appc images have no meta discovery': tests(APPC_FETCH, 'asks the page of the name, and follows its template'),
    'Appc images are not fetched from HDFS': tests(APPC_FETCH, 'is copied by hadoop, with the port filled in'),
    'dependencies come twice, and the manifest is that of the first': tests(
      APPC_PULL,
      'each fetched once, and the manifest of A (Mesos:',
    ),
    'user:group is not read': tests('test/spec/runtime.test.ts', 'reads users as ids or names'),
    'whatever keeps a directory from going is ignored': tests(
      LEFTOVERS,
      'says what keeps it from destroying a container',
    ),
    'who may prune which images cannot be said': [scope('**Access control lists.**')],
    'documents that say what the code does not do': tests(
      'test/examples.test.ts',
      'docs/operating.md has every setting with its variable',
    ),
  },
};

export const FLAWS: readonly Flaw[] = Object.entries(TABLE).flatMap(([group, flaws]) =>
  Object.entries(flaws).map(([flaw, answer]) => ({ group: Number(group), flaw, answer })),
);
