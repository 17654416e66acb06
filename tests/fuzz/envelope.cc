// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/envelope.h"

#include "engine/image.pb.h"
#include "target.h"

namespace ks::fuzz {

void run(std::string_view input) {
  auto all = engine::open_envelopes(input);
  auto one = engine::open_envelope(input, "manifest", 3);
  require(!one || (all && all->size() == 1), "a file that is one envelope is a sequence of one");
  if (!all) return require(all.error().what.starts_with("offset "), "an error names the offset");
  for (const engine::Envelope& envelope : *all) {
    engine::image::Manifest manifest;
    if (engine::parse_body(envelope, manifest))
      require(engine::open_envelopes(engine::seal(envelope.kind, envelope.version, manifest)).has_value(),
              "what was read can be written");
  }
}

std::vector<std::string> seeds() {
  engine::image::Manifest manifest;
  manifest.set_format(1);
  manifest.set_unit("a.service");
  manifest.set_created(1700000000);
  auto& file = *manifest.add_files();
  file.set_name("pages\xff");
  file.set_bytes(uint64_t{1} << 40);
  std::string one = engine::seal("manifest", 1, manifest);
  return {one, one + engine::seal("pipe", 2, engine::image::Manifest()) + one};
}

}  // namespace ks::fuzz
