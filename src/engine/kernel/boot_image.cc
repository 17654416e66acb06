// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/boot_image.h"

#include <asm/bootparam.h>
#include <fmt/format.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/text.h"
#include "engine/kernel/elf.h"

namespace ks::engine {

namespace {

constexpr size_t kSector = 512, kSetupSectors = 4;  // where the header says 0
constexpr uint32_t kMagic = 0x53726448;             // "HdrS"
constexpr uint16_t kBootFlag = 0xaa55, kTellsPayload = 0x208;

// Of kernels as distributions build them: 60 to 100 MiB, and 10 to 20 packed.
constexpr size_t kMostUnpacked = size_t{256} << 20;

using Bytes = std::span<const std::byte>;
using Room = std::span<std::byte>;

// Each fills `out` to its last byte from all of `in`, or says what has failed.

std::string_view unpack_gzip(Bytes in, Room out) {
  constexpr int kGzipAlone = 16;
  z_stream stream{};
  if (::inflateInit2(&stream, kGzipAlone + MAX_WBITS) != Z_OK) return "zlib";
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  bool good = ::inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.avail_in == 0 && stream.avail_out == 0;
  ::inflateEnd(&stream);
  return good ? "" : "gzip";
}

std::string_view unpack_xz(Bytes in, Room out) {
  uint64_t memory = kMostUnpacked;
  size_t read = 0, written = 0;
  lzma_ret end = ::lzma_stream_buffer_decode(&memory, 0, nullptr, reinterpret_cast<const uint8_t*>(in.data()), &read,
                                             in.size(), reinterpret_cast<uint8_t*>(out.data()), &written, out.size());
  return end == LZMA_OK && read == in.size() && written == out.size() ? "" : "xz";
}

std::string_view unpack_zstd(Bytes in, Room out) {
  return ::ZSTD_decompress(out.data(), out.size(), in.data(), in.size()) == out.size() ? "" : "zstd";
}

// The legacy format: blocks that begin with their size, each of 8 MiB unpacked but for the last one.
std::string_view unpack_lz4(Bytes in, Room out) {
  constexpr size_t kMagicBytes = 4, kMostInBlock = size_t{8} << 20;
  for (in = in.subspan(kMagicBytes); !in.empty();) {
    uint32_t size = 0;
    if (in.size() < sizeof size) return "lz4";
    std::memcpy(&size, in.data(), sizeof size);
    auto block = part_of(in, sizeof size, size);
    if (!block) return "lz4";
    int room = static_cast<int>(std::min(out.size(), kMostInBlock));
    int written = ::LZ4_decompress_safe(reinterpret_cast<const char*>(block->data()),
                                        reinterpret_cast<char*>(out.data()), static_cast<int>(size), room);
    if (written < 0) return "lz4";
    out = out.subspan(static_cast<size_t>(written));
    in = in.subspan(sizeof size + size);
  }
  return out.empty() ? "" : "lz4";
}

struct Packing {
  std::string_view name, magic;
  size_t behind;  // bytes that are no part of it: the kernel's build puts the size there, where the format has none
  std::string_view (*unpack)(Bytes, Room);
};

using namespace std::string_view_literals;
constexpr std::array kPackings = {
    Packing{"gzip", "\x1f\x8b"sv, 0, unpack_gzip},
    Packing{"xz",
            "\xfd"
            "7zXZ\0"sv,
            sizeof(uint32_t), unpack_xz},
    Packing{"zstd", "\x28\xb5\x2f\xfd"sv, sizeof(uint32_t), unpack_zstd},
    Packing{"lz4", "\x02\x21\x4c\x18"sv, sizeof(uint32_t), unpack_lz4},
    Packing{"bzip2", "BZh"sv, 0, nullptr},
    Packing{"lzo", "\x89LZO"sv, 0, nullptr},
    Packing{"lzma", "\x5d\0\0"sv, 0, nullptr},
};

bool begins_with(Bytes bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

}  // namespace

Result<BootImage> parse_boot_image(std::span<const std::byte> file) {
  constexpr size_t kHeader = offsetof(boot_params, hdr);
  auto header_at = part_of(file, kHeader, sizeof(setup_header));
  if (!header_at) return fail("no kernel that tells what is in it (bzImage)");
  setup_header header;
  std::memcpy(&header, header_at->data(), sizeof header);
  if (header.header != kMagic || header.boot_flag != kBootFlag || header.version < kTellsPayload)
    return fail("no kernel that tells what is in it (bzImage)");
  size_t setup = ((header.setup_sects ? header.setup_sects : kSetupSectors) + size_t{1}) * kSector;
  auto packed = part_of(file, setup + header.payload_offset, header.payload_length);
  size_t version_at = kSector + header.kernel_version;
  if (!packed || version_at > setup || setup > file.size()) return fail("a kernel without an end");
  auto version = file.subspan(version_at, setup - version_at);
  std::string_view text(reinterpret_cast<const char*>(version.data()), version.size());
  return BootImage{.release = std::string(take_until(text, ' ')), .packed = *packed};
}

Result<std::string> unpack_kernel(std::span<const std::byte> packed) {
  const auto* packing =
      std::ranges::find_if(kPackings, [&](const auto& one) { return begins_with(packed, one.magic); });
  if (packing == kPackings.end()) return fail("packed in an unknown way");
  if (!packing->unpack) return fail(fmt::format("packed by {}, which is not supported yet", packing->name));
  // Of all of them: the kernel's build finds it there too (arch/x86/boot/compressed/mkpiggy.c).
  uint32_t size = 0;
  if (packed.size() < packing->magic.size() + sizeof size) return fail("a kernel without an end");
  std::memcpy(&size, packed.last(sizeof size).data(), sizeof size);
  if (size > kMostUnpacked) return fail(fmt::format("unpacked it would have {} bytes", size));
  std::string kernel;
  std::string_view failed;
  kernel.resize_and_overwrite(size, [&](char* room, size_t bytes) {
    failed = packing->unpack(packed.first(packed.size() - packing->behind),
                             std::as_writable_bytes(std::span(room, bytes)));
    return bytes;
  });
  if (!failed.empty()) return fail(fmt::format("cannot be unpacked ({})", failed));
  return kernel;
}

}  // namespace ks::engine
