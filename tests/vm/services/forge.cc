// SPDX-License-Identifier: LGPL-2.1-or-later
// forge IMAGE architecture NAME | forge IMAGE format NUMBER
//
// Makes an image into that of another machine or of a later kernel-swap, checksums and all.
#include <fmt/core.h>

#include <cstdlib>
#include <string_view>

#include "base/file.h"
#include "engine/image.pb.h"
#include "engine/image/envelope.h"

namespace {

ks::Result<> forge(const std::string& image, std::string_view field, const std::string& value) {
  std::string path = image + "/manifest.ks";
  auto envelope = TRY(ks::engine::open_envelope(TRY(ks::read_file(path)), "manifest", 1));
  ks::engine::image::Manifest manifest;
  TRY(ks::engine::parse_body(envelope, manifest));
  if (field == "architecture") manifest.set_architecture(value);
  if (field == "format") manifest.set_format(static_cast<uint32_t>(std::stoul(value)));
  return ks::replace_file(path, ks::engine::seal("manifest", envelope.version, manifest), 0600);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return EXIT_FAILURE;
  auto done = forge(argv[1], argv[2], argv[3]);
  if (!done) fmt::print(stderr, "forge: {}\n", done.error().what);
  return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
