// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/iterator.h"

#include <bpf/bpf.h>

#include "base/file.h"

namespace ks::engine {

namespace {

Result<std::string> run_with(int program, const bpf_link_create_opts* options) {
  Fd linked(::bpf_link_create(program, 0, BPF_TRACE_ITER, options));
  if (!linked) return fail_errno("BPF_LINK_CREATE");
  Fd iterator(::bpf_iter_create(linked.get()));
  if (!iterator) return fail_errno("BPF_ITER_CREATE");
  return read_all(iterator.get(), "iterator");
}

}  // namespace

Result<Iterator> Iterator::load(const KernelTypes& types, const char* over, std::span<const bpf_insn> code) {
  uint32_t function = TRY(types.function(("bpf_iter_" + std::string(over)).c_str()));
  LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_TRACE_ITER, .attach_btf_id = function);
  // GPL: which ours may be taken under, and which the helpers ask for.
  Fd program(::bpf_prog_load(BPF_PROG_TYPE_TRACING, "kernel_swap", "GPL", code.data(), code.size(), &options));
  if (!program) return fail_errno("BPF_PROG_LOAD");
  return Iterator(std::move(program));
}

Result<std::string> Iterator::run(pid_t pid) const {
  bpf_iter_link_info which{};
  which.task.pid = static_cast<uint32_t>(pid);
  LIBBPF_OPTS(bpf_link_create_opts, options, .iter_info = &which, .iter_info_len = sizeof which);
  return run_with(program_.get(), &options);
}

Result<std::string> Iterator::run_for_thread(pid_t tid) const {
  bpf_iter_link_info which{};
  which.task.tid = static_cast<uint32_t>(tid);
  LIBBPF_OPTS(bpf_link_create_opts, options, .iter_info = &which, .iter_info_len = sizeof which);
  return run_with(program_.get(), &options);
}

Result<std::string> Iterator::run() const { return run_with(program_.get(), nullptr); }

namespace bpf {

bpf_insn load(uint8_t size, uint8_t to, uint8_t from, int64_t offset) {
  return {.code = static_cast<uint8_t>(BPF_LDX | BPF_MEM | size),
          .dst_reg = to,
          .src_reg = from,
          .off = static_cast<int16_t>(offset),
          .imm = 0};
}
bpf_insn store(uint8_t size, uint8_t from, int64_t at) {
  return {.code = static_cast<uint8_t>(BPF_STX | BPF_MEM | size),
          .dst_reg = BPF_REG_10,
          .src_reg = from,
          .off = static_cast<int16_t>(at),
          .imm = 0};
}
bpf_insn copy(uint8_t to, uint8_t from) {
  return {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = to, .src_reg = from, .off = 0, .imm = 0};
}
bpf_insn set(uint8_t to, int32_t value) {
  return {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = to, .src_reg = 0, .off = 0, .imm = value};
}
// BPF_IMM goes without saying, being 0.
std::vector<bpf_insn> set_wide(uint8_t to, uint64_t value) {
  return {{.code = BPF_LD | BPF_DW, .dst_reg = to, .src_reg = 0, .off = 0, .imm = static_cast<int32_t>(value)},
          {.code = 0, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = static_cast<int32_t>(value >> 32)}};
}
std::vector<bpf_insn> set_map(uint8_t to, int map) {
  auto setting = set_wide(to, static_cast<uint32_t>(map));
  setting.front().src_reg = BPF_PSEUDO_MAP_FD;
  return setting;
}
bpf_insn add(uint8_t to, int32_t value) {
  return {.code = BPF_ALU64 | BPF_ADD, .dst_reg = to, .src_reg = 0, .off = 0, .imm = value};
}
bpf_insn call(int32_t helper) {
  return {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = helper};
}
bpf_insn leave_if_null(uint8_t what) {
  return {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = what, .src_reg = 0, .off = 0, .imm = 0};
}
bpf_insn leave_unless(uint8_t what, int32_t value) {
  return {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = what, .src_reg = 0, .off = 0, .imm = value};
}

std::vector<bpf_insn> read(int64_t at, size_t bytes, uint8_t from, int64_t offset) {
  return {copy(BPF_REG_1, BPF_REG_10),
          add(BPF_REG_1, static_cast<int32_t>(at)),
          set(BPF_REG_2, static_cast<int32_t>(bytes)),
          copy(BPF_REG_3, from),
          add(BPF_REG_3, static_cast<int32_t>(offset)),
          call(BPF_FUNC_probe_read_kernel)};
}

void append(std::vector<bpf_insn>& code, const std::vector<bpf_insn>& more) {
  code.insert(code.end(), more.begin(), more.end());
}

std::vector<bpf_insn> begin(int16_t member) {
  return {copy(BPF_REG_6, BPF_REG_1), load(BPF_DW, BPF_REG_7, BPF_REG_6, member), leave_if_null(BPF_REG_7)};
}

std::vector<bpf_insn> follow(int64_t at, int64_t offset) {
  auto code = read(at, sizeof(uint64_t), BPF_REG_7, offset);
  append(code, {load(BPF_DW, BPF_REG_7, BPF_REG_10, at), leave_if_null(BPF_REG_7)});
  return code;
}

std::vector<bpf_insn> clear(int64_t at, size_t bytes) {
  std::vector<bpf_insn> code = {set(BPF_REG_1, 0)};
  for (size_t i = 0; i < bytes; i += sizeof(uint64_t))
    code.push_back(store(BPF_DW, BPF_REG_1, at + static_cast<int64_t>(i)));
  return code;
}

void finish(std::vector<bpf_insn>& code, int64_t at, size_t bytes) {
  constexpr int16_t kMeta = 0, kSequence = 0;  // of the context, and of struct bpf_iter_meta
  append(code, {load(BPF_DW, BPF_REG_1, BPF_REG_6, kMeta),
                load(BPF_DW, BPF_REG_1, BPF_REG_1, kSequence),
                copy(BPF_REG_2, BPF_REG_10),
                add(BPF_REG_2, static_cast<int32_t>(at)),
                set(BPF_REG_3, static_cast<int32_t>(bytes)),
                call(BPF_FUNC_seq_write),
                set(BPF_REG_0, 0),
                {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}});
  constexpr size_t kEnd = 2;  // instructions
  for (size_t i = 0; i < code.size(); ++i)
    if (code[i].code == (BPF_JMP | BPF_JEQ | BPF_K) || code[i].code == (BPF_JMP | BPF_JNE | BPF_K))
      code[i].off = static_cast<int16_t>(code.size() - kEnd - i - 1);
}

}  // namespace bpf

}  // namespace ks::engine
