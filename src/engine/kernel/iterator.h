// SPDX-License-Identifier: LGPL-2.1-or-later
// What no call tells: a program that we load into the kernel is run for each of its objects of a kind (bpf(2), an
// iterator) and writes down what lies there. It changes nothing.
#pragma once

#include <linux/bpf.h>
#include <sys/types.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

class Iterator {
 public:
  // Over a task, its open files ("task_file") or areas ("task_vma"), or what we and others have made of this kind
  // ("bpf_map").
  // Fails where the kernel lets nobody read in it (kernel_lockdown(7)).
  static Result<Iterator> load(const KernelTypes& types, const char* over, std::span<const bpf_insn> code);
  // All that the program has written of a process.
  Result<std::string> run(pid_t pid) const;
  Result<std::string> run_for_thread(pid_t tid) const;
  // Of all that there is of its kind.
  Result<std::string> run() const;

 private:
  explicit Iterator(Fd program) : program_(std::move(program)) {}
  Fd program_;
};

// What a program is made of.
namespace bpf {

// The context that the kernel gives it: struct bpf_iter__task, bpf_iter__task_file and bpf_iter__task_vma
// (kernel/bpf/task_iter.c), and bpf_iter__bpf_map (kernel/bpf/map_iter.c).
inline constexpr int16_t kContextTask = 8, kContextFd = 16, kContextFile = 24, kContextArea = 16, kContextMap = 8;

bpf_insn load(uint8_t size, uint8_t to, uint8_t from, int64_t offset);
bpf_insn store(uint8_t size, uint8_t from, int64_t at);  // on its stack
bpf_insn copy(uint8_t to, uint8_t from);
bpf_insn set(uint8_t to, int32_t value);
std::vector<bpf_insn> set_wide(uint8_t to, uint64_t value);
std::vector<bpf_insn> set_map(uint8_t to, int map);  // a descriptor
bpf_insn add(uint8_t to, int32_t value);
bpf_insn call(int32_t helper);
bpf_insn leave_if_null(uint8_t what);
bpf_insn leave_unless(uint8_t what, int32_t value);
// Onto its stack what lies beyond an address; zero where nothing does. Takes the registers 0 to 5.
std::vector<bpf_insn> read(int64_t at, size_t bytes, uint8_t from, int64_t offset);
void append(std::vector<bpf_insn>& code, const std::vector<bpf_insn>& more);
// The beginning: the context is in register 6 then, and in register 7 that member of it, without which it leaves.
std::vector<bpf_insn> begin(int16_t member);
// Onto its stack the address that lies beyond register 7, which has it then; without one it leaves.
std::vector<bpf_insn> follow(int64_t at, int64_t offset);
// Zeros onto its stack, for what is not read in every case. Takes register 1.
std::vector<bpf_insn> clear(int64_t at, size_t bytes);
// The end, at which whoever leaves does so too: writes down what is on its stack.
void finish(std::vector<bpf_insn>& code, int64_t at, size_t bytes);

// What a program has written down.
template <class Record>
std::vector<Record> records(const std::string& written) {
  std::vector<Record> all(written.size() / sizeof(Record));
  std::memcpy(all.data(), written.data(), all.size() * sizeof(Record));
  return all;
}

}  // namespace bpf

}  // namespace ks::engine
