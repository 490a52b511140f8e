import { writeFileSync } from 'node:fs';

import cyclonedx from '@cyclonedx/cyclonedx-library';

import { isAllowed, manifest, runtimePackages } from './supply.ts';

/**
 * `npm run sbom`: writes what is installed with this package as a software bill of materials, in
 * CycloneDX. `npm sbom --omit dev` leaves out what development needs as well.
 */

const { Contrib, Enums, Models, Serialize, Spec } = cyclonedx;
const { Builders, Factories } = Contrib.FromNodePackageJson;

const licences = new Contrib.License.Factories.LicenseFactory((expression) => {
  if (!isAllowed(expression)) throw new RangeError(`no known licence: ${expression}`);
});
const components = new Builders.ComponentBuilder(
  new Factories.ExternalReferenceFactory(),
  licences,
);

const purlOf = ({ name, version }) => `pkg:npm/${name.replace(/^@/, '%40')}@${version}`;

function componentOf(data, license, type) {
  const component = components.makeComponent({ ...data, license }, type);
  component.purl = purlOf(data);
  component.bomRef.value = component.purl;
  return component;
}

const packages = runtimePackages().map((one) => {
  const component = componentOf(one.manifest, one.license, Enums.ComponentType.Library);
  const [algorithm, digest] = one.locked.integrity.split('-', 2);
  if (algorithm !== 'sha512') throw new Error(`${one.place} is not locked by SHA-512.`);
  component.hashes.set(
    Enums.HashAlgorithm['SHA-512'],
    Buffer.from(digest, 'base64').toString('hex'),
  );
  return { ...one, component };
});
const byPlace = new Map(packages.map(({ place, component }) => [place, component]));
for (const { component, needs } of packages) {
  for (const place of needs) component.dependencies.add(byPlace.get(place).bomRef);
}

const subject = componentOf(manifest, manifest.license, Enums.ComponentType.Application);
for (const name of Object.keys(manifest.dependencies)) {
  subject.dependencies.add(byPlace.get(`node_modules/${name}`).bomRef);
}
const bom = new Models.Bom({
  metadata: new Models.Metadata({ component: subject, timestamp: new Date() }),
  components: new Models.ComponentRepository(byPlace.values()),
  serialNumber: Contrib.Bom.Utils.randomSerialNumber(),
});
const serializer = new Serialize.JsonSerializer(
  new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6),
);
const [file = 'sbom.cdx.json'] = process.argv.slice(2);
writeFileSync(file, serializer.serialize(bom, { sortLists: true, space: 1 }));
