// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/remote.h"

#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/file.h"

namespace ks::engine {

namespace {

using Word = uint64_t;

// The library's function returns the word, this stores it.
Result<Word> peek_word(pid_t pid, uint64_t at) {
  Word word = 0;
  if (::syscall(SYS_ptrace, PTRACE_PEEKDATA, pid, at, &word))
    return fail_errno(fmt::format("reading memory at {:x}", at));
  return word;
}

// Of a range, the words that it lies in: their addresses, and where in each how many of its bytes are.
template <class Use>
Result<> each_word(uint64_t from, uint64_t bytes, Use use) {
  for (uint64_t at = from, end = from + bytes; at < end;) {
    uint64_t inside = at % sizeof(Word), count = std::min(sizeof(Word) - inside, end - at);
    TRY(use(at - inside, inside, count, at - from));
    at += count;
  }
  return {};
}

}  // namespace

Result<RemoteMemory> RemoteMemory::open(pid_t pid) {
  Fd mem = TRY(open_file(fmt::format("/proc/{}/mem", pid), O_RDWR));
  return RemoteMemory(pid, std::move(mem));
}

Result<> RemoteMemory::read(RemoteAddress from, std::span<std::byte> into) const {
  while (!into.empty()) {
    iovec local{into.data(), into.size()};
    iovec remote{reinterpret_cast<void*>(from.value), into.size()};
    ssize_t got = ::process_vm_readv(pid_, &local, 1, &remote, 1, 0);
    if (got <= 0)  // not readable by the program itself
      got = ::pread(mem_.get(), into.data(), into.size(), static_cast<off_t>(from.value));
    if (got < 0 && errno == EIO) return read_by_words(from, into);
    if (got < 0) return fail_errno(fmt::format("reading memory at {:x}", from.value));
    if (got == 0) return fail(fmt::format("reading memory at {:x}: nothing there", from.value), EFAULT);
    into = into.subspan(static_cast<size_t>(got));
    from.value += static_cast<uint64_t>(got);
  }
  return {};
}

Result<> RemoteMemory::peek(RemoteAddress from, std::span<std::byte> into) const {
  return in(fmt::format("reading memory at {:x}", from.value), read_exactly_at(mem_.get(), into, from.value, "mem"));
}

Result<> RemoteMemory::poke(RemoteAddress to, std::byte byte) const {
  if (::pwrite(mem_.get(), &byte, 1, static_cast<off_t>(to.value)) != 1)
    return fail_errno(fmt::format("writing memory at {:x}", to.value));
  return {};
}

Result<> RemoteMemory::write(RemoteAddress to, std::span<const std::byte> bytes) const {
  for (size_t done = 0; (done += write_where_allowed({to.value + done}, bytes.subspan(done))) < bytes.size();) {
    uint64_t at = to.value + done;
    ssize_t put = ::pwrite(mem_.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(at));
    if (put < 0 && errno == EIO) return write_by_words({at}, bytes.subspan(done));
    if (put < 0) return fail_errno(fmt::format("writing memory at {:x}", at));
    if (put == 0) return fail(fmt::format("writing memory at {:x}: nothing there", at), EFAULT);
    done += static_cast<size_t>(put);
  }
  return {};
}

Result<> RemoteMemory::read_by_words(RemoteAddress from, std::span<std::byte> into) const {
  return each_word(from.value, into.size(),
                   [&](uint64_t at, uint64_t inside, uint64_t count, uint64_t done) -> Result<> {
                     Word word = TRY(peek_word(pid_, at));
                     std::memcpy(&into[done], reinterpret_cast<const std::byte*>(&word) + inside, count);
                     return {};
                   });
}

Result<> RemoteMemory::write_by_words(RemoteAddress to, std::span<const std::byte> bytes) const {
  return each_word(to.value, bytes.size(),
                   [&](uint64_t at, uint64_t inside, uint64_t count, uint64_t done) -> Result<> {
                     Word word = count < sizeof word ? TRY(peek_word(pid_, at)) : 0;
                     std::memcpy(reinterpret_cast<std::byte*>(&word) + inside, &bytes[done], count);
                     if (::syscall(SYS_ptrace, PTRACE_POKEDATA, pid_, at, word))
                       return fail_errno(fmt::format("writing memory at {:x}", at));
                     return {};
                   });
}

size_t RemoteMemory::write_where_allowed(RemoteAddress to, std::span<const std::byte> bytes) const {
  size_t done = 0;
  while (done < bytes.size()) {
    iovec local{const_cast<std::byte*>(bytes.data() + done), bytes.size() - done};
    iovec remote{reinterpret_cast<void*>(to.value + done), bytes.size() - done};
    ssize_t put = ::process_vm_writev(pid_, &local, 1, &remote, 1, 0);
    if (put <= 0) break;
    done += static_cast<size_t>(put);
  }
  return done;
}

}  // namespace ks::engine
