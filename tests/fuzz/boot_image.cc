// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/boot_image.h"

#include "engine/kernel/elf.h"
#include "engine/kernel/kernel_types.h"
#include "engine/kernel/ring_layout.h"
#include "small_kernel.h"
#include "target.h"

namespace ks::fuzz {

namespace {

void look_into(std::span<const std::byte> section) {
  auto types = engine::KernelTypes::parse(section);
  if (!types) return;
  (void)engine::expected_layout(*types, {});
  (void)types->enumeration_with("IORING_OP_NOP");
}

}  // namespace

void run(std::string_view input) {
  auto bytes = std::as_bytes(std::span(input));
  if (auto section = engine::find_section(bytes, ".BTF")) look_into(*section);
  look_into(bytes);
  auto image = engine::parse_boot_image(bytes);
  if (!image) return;
  require(image->packed.empty() || (image->packed.data() >= bytes.data() &&
                                    image->packed.data() + image->packed.size() <= bytes.data() + bytes.size()),
          "what is packed lies inside the file");
  (void)engine::unpack_kernel(image->packed);
}

std::vector<std::string> seeds() {
  std::string types = engine::RingTypes().text(), elf = engine::elf_with(".BTF", types);
  std::vector<std::string> seeds = {types, elf};
  for (auto pack : engine::kPackers) seeds.push_back(engine::boot_image("6.12.95", pack(elf)));
  return seeds;
}

}  // namespace ks::fuzz
