// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/socket_insides.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "base/fd.h"
#include "base/file.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

namespace {

// Where it lies.
struct Layout {
  uint32_t iterator = 0;  // id of the function
  uint32_t socket_sk = 0, error = 0, flags = 0, multicast_interface = 0;
  uint32_t queued = 0, being_read = 0;  // datagrams: UDP takes them from one queue to the other
};

Result<Layout> find_layout() {
  auto types = TRY(KernelTypes::read());
  // The sockets of a family begin with a sock, and that with a sock_common.
  uint32_t length = TRY(types.offset("sk_buff_head", "qlen"));
  return Layout{.iterator = TRY(types.function("bpf_iter_task_file")),
                .socket_sk = TRY(types.offset("socket", "sk")),
                .error = TRY(types.offset("sock", "sk_err")),
                .flags = TRY(types.offset("sock_common", "skc_flags")),
                .multicast_interface = TRY(types.offset("inet_sock", "mc_index")),
                .queued = TRY(types.offset("sock", "sk_receive_queue")) + length,
                .being_read = TRY(types.offset("udp_sock", "reader_queue")) + length};
}

// What the program writes for each socket.
struct Record {
  uint32_t fd, error, flags, multicast_interface, queued, being_read;
};

// The context that the kernel gives it: struct bpf_iter__task_file (kernel/bpf/task_iter.c).
constexpr int16_t kContextMeta = 0, kContextFd = 16, kContextFile = 24;
constexpr int16_t kMetaSequence = 0;  // struct bpf_iter_meta

// On its stack.
constexpr int16_t kRecordAt = -static_cast<int16_t>(sizeof(Record));

bpf_insn load(uint8_t size, uint8_t to, uint8_t from, int64_t offset) {
  return {.code = static_cast<uint8_t>(BPF_LDX | BPF_MEM | size),
          .dst_reg = to,
          .src_reg = from,
          .off = static_cast<int16_t>(offset),
          .imm = 0};
}
bpf_insn store(uint8_t from, int64_t offset) {
  return {.code = BPF_STX | BPF_MEM | BPF_W,
          .dst_reg = BPF_REG_10,
          .src_reg = from,
          .off = static_cast<int16_t>(kRecordAt + offset),
          .imm = 0};
}
bpf_insn copy(uint8_t to, uint8_t from) {
  return {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = to, .src_reg = from, .off = 0, .imm = 0};
}
bpf_insn set(uint8_t to, int32_t value) {
  return {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = to, .src_reg = 0, .off = 0, .imm = value};
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

std::vector<bpf_insn> write_program(const Layout& layout) {
  std::vector<bpf_insn> code = {
      copy(BPF_REG_6, BPF_REG_1),
      load(BPF_DW, BPF_REG_1, BPF_REG_6, kContextFile),
      leave_if_null(BPF_REG_1),
      call(BPF_FUNC_sock_from_file),
      leave_if_null(BPF_REG_0),
      load(BPF_DW, BPF_REG_7, BPF_REG_0, layout.socket_sk),
      leave_if_null(BPF_REG_7),
      load(BPF_W, BPF_REG_1, BPF_REG_6, kContextFd),
      store(BPF_REG_1, offsetof(Record, fd)),
      load(BPF_W, BPF_REG_1, BPF_REG_7, layout.error),
      store(BPF_REG_1, offsetof(Record, error)),
      load(BPF_DW, BPF_REG_1, BPF_REG_7, layout.flags),
      store(BPF_REG_1, offsetof(Record, flags)),
  };
  // Beyond a socket of another family there may be nothing, of which the helper takes notice.
  for (auto [from, to] : {std::pair(layout.multicast_interface, offsetof(Record, multicast_interface)),
                          {layout.queued, offsetof(Record, queued)},
                          {layout.being_read, offsetof(Record, being_read)}}) {
    std::vector<bpf_insn> reading = {copy(BPF_REG_1, BPF_REG_10),
                                     add(BPF_REG_1, kRecordAt + static_cast<int32_t>(to)),
                                     set(BPF_REG_2, sizeof(uint32_t)),
                                     copy(BPF_REG_3, BPF_REG_7),
                                     add(BPF_REG_3, static_cast<int32_t>(from)),
                                     call(BPF_FUNC_probe_read_kernel)};
    code.insert(code.end(), reading.begin(), reading.end());
  }
  const std::vector<bpf_insn> writing = {
      load(BPF_DW, BPF_REG_1, BPF_REG_6, kContextMeta),
      load(BPF_DW, BPF_REG_1, BPF_REG_1, kMetaSequence),
      copy(BPF_REG_2, BPF_REG_10),
      add(BPF_REG_2, kRecordAt),
      set(BPF_REG_3, sizeof(Record)),
      call(BPF_FUNC_seq_write),
      set(BPF_REG_0, 0),
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  };
  code.insert(code.end(), writing.begin(), writing.end());
  for (size_t i = 0; i < code.size(); ++i)
    if (code[i].code == (BPF_JMP | BPF_JEQ | BPF_K)) code[i].off = static_cast<int16_t>(code.size() - 2 - i - 1);
  return code;
}

Result<Fd> load_program(const Layout& layout) {
  // GPL: which ours may be taken under, and which the helpers ask for.
  auto code = write_program(layout);
  LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_TRACE_ITER, .attach_btf_id = layout.iterator);
  Fd program(::bpf_prog_load(BPF_PROG_TYPE_TRACING, "ks_sockets", "GPL", code.data(), code.size(), &options));
  if (!program) return fail_errno("BPF_PROG_LOAD");
  return program;
}

// Over our own open files.
Result<Fd> begin(const Fd& program) {
  bpf_iter_link_info which{};
  which.task.pid = static_cast<uint32_t>(::getpid());
  LIBBPF_OPTS(bpf_link_create_opts, options, .iter_info = &which, .iter_info_len = sizeof which);
  Fd linked(::bpf_link_create(program.get(), 0, BPF_TRACE_ITER, &options));
  if (!linked) return fail_errno("BPF_LINK_CREATE");
  Fd iterator(::bpf_iter_create(linked.get()));
  if (!iterator) return fail_errno("BPF_ITER_CREATE");
  return iterator;
}

Result<Fd> find_and_load() {
  Layout layout = TRY(find_layout());
  return load_program(layout);
}

const Result<Fd>& loaded_program() {
  static const Result<Fd> program = find_and_load();
  return program;
}

}  // namespace

Result<std::map<int, SocketInsides>> look_into_sockets() {
  constexpr uint32_t kDone = 1u << 1;  // SOCK_DONE (net/sock.h)
  const Result<Fd>& program = loaded_program();
  if (!program) return std::unexpected(program.error());
  Fd iterator = TRY(begin(*program));
  std::string all = TRY(read_all(iterator.get(), "sockets"));
  std::map<int, SocketInsides> sockets;
  for (std::string_view rest = all; rest.size() >= sizeof(Record); rest.remove_prefix(sizeof(Record))) {
    Record record;
    std::memcpy(&record, rest.data(), sizeof record);
    sockets[static_cast<int>(record.fd)] = {.error = static_cast<int>(record.error),
                                            .peer_ended = (record.flags & kDone) != 0,
                                            .multicast_interface = record.multicast_interface,
                                            .datagrams = record.queued + record.being_read,
                                            .messages = record.queued};
  }
  return sockets;
}

void prepare_to_look_into_sockets() { (void)loaded_program(); }

}  // namespace ks::engine
