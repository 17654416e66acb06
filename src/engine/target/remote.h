// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory of another process, by addresses that cannot be dereferenced by mistake.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/fd.h"
#include "base/result.h"

namespace ks::engine {

// An address in another process. Only RemoteMemory can follow it.
struct RemoteAddress {
  uint64_t value = 0;

  RemoteAddress operator+(uint64_t offset) const { return {value + offset}; }
  auto operator<=>(const RemoteAddress&) const = default;
  explicit operator bool() const { return value != 0; }
};

class RemoteMemory {
 public:
  static Result<RemoteMemory> open(pid_t pid);

  // Whatever the protection of the area: /proc/PID/mem where process_vm_readv(2) is denied. Since Linux 6.12 that may
  // be allowed only to the thread that traces the process, or to nobody (proc_mem.force_override): then by words.
  Result<> read(RemoteAddress from, std::span<std::byte> into) const;
  Result<> write(RemoteAddress to, std::span<const std::byte> bytes) const;
  // By ptrace(2), a call for each word; for the thread that traces the process, which is stopped.
  Result<> read_by_words(RemoteAddress from, std::span<std::byte> into) const;
  Result<> write_by_words(RemoteAddress to, std::span<const std::byte> bytes) const;
  // The same without that, until it is denied; returns how far it came.
  size_t write_where_allowed(RemoteAddress to, std::span<const std::byte> bytes) const;
  // Reads at half the speed, but leaves pages shared that are so by fork(2) or KSM: process_vm_readv(2) pins what it
  // reads, and for that gives the process copies of its own (seen on 6.18, since 5.19).
  Result<> peek(RemoteAddress from, std::span<std::byte> into) const;
  // Grows a stack when it goes below. process_vm_writev(2) does not since Linux 6.5, and complains in the kernel's
  // log.
  Result<> poke(RemoteAddress to, std::byte byte) const;

  template <class T>
    requires std::is_trivially_copyable_v<T>
  Result<T> read(RemoteAddress from) const {
    T value;
    TRY(read(from, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  template <class T>
    requires std::is_trivially_copyable_v<T>
  Result<> write_value(RemoteAddress to, const T& value) const {
    return write(to, std::as_bytes(std::span(&value, 1)));
  }

 private:
  RemoteMemory(pid_t pid, Fd mem) : pid_(pid), mem_(std::move(mem)) {}
  pid_t pid_;
  Fd mem_;
};

}  // namespace ks::engine
