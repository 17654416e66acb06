// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/socket_insides.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "base/fd.h"
#include "base/file.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

namespace {

Result<Fd> bpf(bpf_cmd command, bpf_attr& attribute, const char* what) {
  Fd made(static_cast<int>(::syscall(SYS_bpf, command, &attribute, sizeof attribute)));
  if (!made) return fail_errno(what);
  return made;
}

// Where it lies.
struct Layout {
  uint32_t iterator = 0;  // id of the function
  uint32_t socket_sk = 0, error = 0, flags = 0, multicast_interface = 0;
  uint32_t queued = 0, being_read = 0;  // datagrams: UDP takes them from one queue to the other
};

Result<Layout> find_layout() {
  auto types = TRY(KernelTypes::read());
  auto iterator = types.function("bpf_iter_task_file");
  // The sockets of a family begin with a sock, and that with a sock_common.
  auto sk = types.offset("socket", "sk"), error = types.offset("sock", "sk_err"),
       flags = types.offset("sock_common", "skc_flags"), multicast = types.offset("inet_sock", "mc_index"),
       received = types.offset("sock", "sk_receive_queue"), reading = types.offset("udp_sock", "reader_queue"),
       length = types.offset("sk_buff_head", "qlen");
  if (!iterator || !sk || !error || !flags || !multicast || !received || !reading || !length)
    return fail("the kernel's types (BTF) lack those of sockets");
  return Layout{*iterator, *sk, *error, *flags, *multicast, *received + *length, *reading + *length};
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
  constexpr char kLicense[] = "GPL";  // which ours may be taken under, and which the helpers ask for
  auto code = write_program(layout);
  bpf_attr attribute{};
  attribute.prog_type = BPF_PROG_TYPE_TRACING;
  attribute.expected_attach_type = BPF_TRACE_ITER;
  attribute.attach_btf_id = layout.iterator;
  attribute.insns = reinterpret_cast<uint64_t>(code.data());
  attribute.insn_cnt = static_cast<uint32_t>(code.size());
  attribute.license = reinterpret_cast<uint64_t>(kLicense);
  std::strcpy(attribute.prog_name, "ks_sockets");
  return bpf(BPF_PROG_LOAD, attribute, "BPF_PROG_LOAD");
}

// Over our own open files.
Result<Fd> begin(const Fd& program) {
  bpf_iter_link_info which{};
  which.task.pid = static_cast<uint32_t>(::getpid());
  bpf_attr link{};
  link.link_create.prog_fd = static_cast<uint32_t>(program.get());
  link.link_create.attach_type = BPF_TRACE_ITER;
  link.link_create.iter_info = reinterpret_cast<uint64_t>(&which);
  link.link_create.iter_info_len = sizeof which;
  Fd linked = TRY(bpf(BPF_LINK_CREATE, link, "BPF_LINK_CREATE"));
  bpf_attr iterator{};
  iterator.iter_create.link_fd = static_cast<uint32_t>(linked.get());
  return bpf(BPF_ITER_CREATE, iterator, "BPF_ITER_CREATE");
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
