// SPDX-License-Identifier: LGPL-2.1-or-later
// For tests: the file of a kernel (bzImage) in which there is nothing but the types of rings.
#pragma once

#include <asm/bootparam.h>
#include <bpf/btf.h>
#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "engine/kernel/next_kernel.h"

namespace ks::engine {

template <class Value>
std::string bytes_of(const Value& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// As Linux 6.12 lays out rings, but for what is asked for.
struct RingTypes {
  uint32_t flags_at = 36, bytes = 64;
  std::vector<std::string> operations = {"IORING_OP_NOP", "IORING_OP_READV"};

  // The section .BTF.
  std::string text() const {
    btf* types = ::btf__new_empty();
    int number = ::btf__add_int(types, "unsigned int", 4, 0);
    ::btf__add_struct(types, "io_uring", 8);
    ::btf__add_field(types, "head", number, 0, 0);
    ::btf__add_field(types, "tail", number, 32, 0);
    int queue = number + 1;
    ::btf__add_struct(types, "io_rings", bytes);
    using Member = std::pair<const char*, uint32_t>;
    for (auto [name, at] : {Member{"sq", 0}, {"cq", 8}}) ::btf__add_field(types, name, queue, at * 8, 0);
    for (auto [name, at] : {Member{"sq_ring_mask", 16},
                            {"cq_ring_mask", 20},
                            {"sq_ring_entries", 24},
                            {"cq_ring_entries", 28},
                            {"sq_dropped", 32},
                            {"sq_flags", flags_at},
                            {"cq_flags", 40},
                            {"cq_overflow", 44},
                            {"cqes", bytes}})
      ::btf__add_field(types, name, number, at * 8, 0);
    ::btf__add_enum(types, "io_uring_op", 4);
    int value = 0;
    for (const std::string& name : operations) ::btf__add_enum_value(types, name.c_str(), value++);
    ::btf__add_enum_value(types, "IORING_OP_LAST", value);
    ::btf__add_enum(types, nullptr, 4);
    ::btf__add_enum_value(types, "IORING_REGISTER_BUFFERS", 0);
    uint32_t size = 0;
    const void* data = ::btf__raw_data(types, &size);
    std::string text(static_cast<const char*>(data), size);
    ::btf__free(types);
    return text;
  }
};

// ELF with one section besides that of their names.
inline std::string elf_with(std::string_view name, std::string_view content) {
  std::string names = std::string("\0", 1) + std::string(name) + std::string("\0.shstrtab\0", 11);
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_shoff = sizeof header;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = 3;
  header.e_shstrndx = 2;
  uint64_t content_at = sizeof header + 3 * sizeof(Elf64_Shdr), names_at = content_at + content.size();
  Elf64_Shdr none{};
  Elf64_Shdr section{.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = content_at, .sh_size = content.size()};
  Elf64_Shdr of_names{.sh_name = static_cast<Elf64_Word>(name.size() + 2),
                      .sh_type = SHT_STRTAB,
                      .sh_offset = names_at,
                      .sh_size = names.size()};
  return bytes_of(header) + bytes_of(none) + bytes_of(section) + bytes_of(of_names) + std::string(content) + names;
}

inline std::string packed_by_gzip(const std::string& text) {
  std::string packed(::compressBound(text.size()) + 64, '\0');
  z_stream stream{};
  ::deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  ::deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  ::deflateEnd(&stream);
  return packed;
}

inline std::string packed_by_xz(const std::string& text) {
  std::string packed(::lzma_stream_buffer_bound(text.size()), '\0');
  lzma_options_lzma options;
  ::lzma_lzma_preset(&options, 1);
  // As the kernel's build has it.
  lzma_filter filters[] = {{LZMA_FILTER_X86, nullptr}, {LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  size_t size = 0;
  (void)!::lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, nullptr,
                                     reinterpret_cast<const uint8_t*>(text.data()), text.size(),
                                     reinterpret_cast<uint8_t*>(packed.data()), &size, packed.size());
  return packed.substr(0, size) + bytes_of(static_cast<uint32_t>(text.size()));
}

inline std::string packed_by_lz4(const std::string& text) {
  std::string block(static_cast<size_t>(::LZ4_compressBound(static_cast<int>(text.size()))), '\0');
  int size = ::LZ4_compress_default(text.data(), block.data(), static_cast<int>(text.size()),
                                    static_cast<int>(block.size()));
  return bytes_of(uint32_t{0x184c2102}) + bytes_of(size) + block.substr(0, static_cast<size_t>(size)) +
         bytes_of(static_cast<uint32_t>(text.size()));
}

inline std::string packed_by_zstd(const std::string& text) {
  std::string packed(::ZSTD_compressBound(text.size()), '\0');
  packed.resize(::ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 1));
  return packed + bytes_of(static_cast<uint32_t>(text.size()));
}

inline constexpr std::array kPackers = {packed_by_gzip, packed_by_xz, packed_by_lz4, packed_by_zstd};

inline std::string boot_image(std::string_view release, std::string_view packed) {
  constexpr size_t kSetup = 5 * 512, kVersionAt = 0x400;
  boot_params params{};
  params.hdr.setup_sects = kSetup / 512 - 1;
  params.hdr.boot_flag = 0xaa55;
  params.hdr.header = 0x53726448;
  params.hdr.version = 0x20f;
  params.hdr.kernel_version = kVersionAt - 512;
  params.hdr.payload_offset = 16;
  params.hdr.payload_length = static_cast<uint32_t>(packed.size());
  std::string image = bytes_of(params).substr(0, offsetof(boot_params, hdr) + sizeof params.hdr);
  image.resize(kVersionAt);
  image.append(release).append(" (somebody@somewhere) #1 SMP");
  image.resize(kSetup + params.hdr.payload_offset);
  return image.append(packed).append("signature");
}

inline std::string small_kernel(std::string_view release, std::string_view types) {
  return boot_image(release, packed_by_zstd(elf_with(".BTF", types)));
}

// Whose file holds this.
inline NextKernel kernel_of(std::string_view content, std::string name) {
  Fd file(::memfd_create("kernel", MFD_CLOEXEC));
  if (!write_all(file.get(), content, "kernel")) std::abort();
  return NextKernel::of_file(std::move(file), std::move(name));
}

}  // namespace ks::engine
