// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/socket_insides.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/kernel/iterator.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

namespace {

using namespace bpf;

// Where it lies.
struct Layout {
  uint32_t socket_sk = 0, error = 0, flags = 0, multicast_interface = 0;
  uint32_t queued = 0, being_read = 0;  // datagrams: UDP takes them from one queue to the other
  uint32_t urgent = 0, urgent_at = 0, read_up_to = 0, come = 0, acknowledged = 0, urgent_sent = 0;  // of TCP
  std::vector<uint32_t> keys;                  // of TCP, of each kind that the kernel is built for
  std::vector<uint32_t> policies;              // of IPsec: for what comes, for what goes; none if it is built without
  uint32_t port_group = 0, group_chooser = 0;  // of the sockets that have the same port (SO_REUSEPORT)
};

Result<Layout> find_layout(const KernelTypes& types) {
  // The sockets of a family begin with a sock, and that with a sock_common.
  uint32_t length = TRY(types.offset("sk_buff_head", "qlen"));
  std::vector<uint32_t> keys;
  for (const char* member : {"md5sig_info", "ao_info"})
    if (auto offset = types.offset("tcp_sock", member)) keys.push_back(*offset);
  std::vector<uint32_t> policies;
  if (auto both = types.offset("sock", "sk_policy")) policies = {*both, *both + uint32_t{sizeof(uint64_t)}};
  return Layout{.socket_sk = TRY(types.offset("socket", "sk")),
                .error = TRY(types.offset("sock", "sk_err")),
                .flags = TRY(types.offset("sock_common", "skc_flags")),
                .multicast_interface = TRY(types.offset("inet_sock", "mc_index")),
                .queued = TRY(types.offset("sock", "sk_receive_queue")) + length,
                .being_read = TRY(types.offset("udp_sock", "reader_queue")) + length,
                .urgent = TRY(types.offset("tcp_sock", "urg_data")),
                .urgent_at = TRY(types.offset("tcp_sock", "urg_seq")),
                .read_up_to = TRY(types.offset("tcp_sock", "copied_seq")),
                .come = TRY(types.offset("tcp_sock", "rcv_nxt")),
                .acknowledged = TRY(types.offset("tcp_sock", "snd_una")),
                .urgent_sent = TRY(types.offset("tcp_sock", "snd_up")),
                .keys = std::move(keys),
                .policies = std::move(policies),
                .port_group = TRY(types.offset("sock", "sk_reuseport_cb")),
                .group_chooser = TRY(types.offset("sock_reuseport", "prog"))};
}

// What the program writes for each socket.
struct Record {
  static constexpr size_t kMost = 2;
  uint32_t fd, error, flags, multicast_interface, queued, being_read;
  uint32_t urgent, urgent_at, read_up_to, come, acknowledged, urgent_sent;
  uint64_t keys[kMost], policies[kMost], chooser;  // where they lie
};

// On its stack.
constexpr int16_t kRecordAt = -static_cast<int16_t>(sizeof(Record));

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
      store(BPF_W, BPF_REG_1, kRecordAt + offsetof(Record, fd)),
      load(BPF_W, BPF_REG_1, BPF_REG_7, layout.error),
      store(BPF_W, BPF_REG_1, kRecordAt + offsetof(Record, error)),
      load(BPF_DW, BPF_REG_1, BPF_REG_7, layout.flags),
      store(BPF_W, BPF_REG_1, kRecordAt + offsetof(Record, flags)),
  };
  // Beyond a socket of another family there may be nothing, of which the helper takes notice.
  for (auto [from, to] : {std::pair(layout.multicast_interface, offsetof(Record, multicast_interface)),
                          {layout.queued, offsetof(Record, queued)},
                          {layout.being_read, offsetof(Record, being_read)},
                          {layout.urgent, offsetof(Record, urgent)},
                          {layout.urgent_at, offsetof(Record, urgent_at)},
                          {layout.read_up_to, offsetof(Record, read_up_to)},
                          {layout.come, offsetof(Record, come)},
                          {layout.acknowledged, offsetof(Record, acknowledged)},
                          {layout.urgent_sent, offsetof(Record, urgent_sent)}}) {
    append(code, read(kRecordAt + static_cast<int64_t>(to), sizeof(uint32_t), BPF_REG_7, from));
  }
  constexpr int64_t kChooserAt = kRecordAt + int64_t{offsetof(Record, chooser)};
  for (const auto& [from, to] :
       {std::pair(&layout.keys, offsetof(Record, keys)), {&layout.policies, offsetof(Record, policies)}}) {
    for (size_t i = 0; i < Record::kMost; ++i) {
      int64_t at = kRecordAt + static_cast<int64_t>(to + i * sizeof(uint64_t));
      code.push_back(set(BPF_REG_1, 0));
      code.push_back(store(BPF_DW, BPF_REG_1, at));
      if (i < from->size()) append(code, read(at, sizeof(uint64_t), BPF_REG_7, (*from)[i]));
    }
  }
  append(code, read(kChooserAt, sizeof(uint64_t), BPF_REG_7, layout.port_group));
  code.push_back(load(BPF_DW, BPF_REG_8, BPF_REG_10, kChooserAt));
  append(code, read(kChooserAt, sizeof(uint64_t), BPF_REG_8, layout.group_chooser));
  finish(code, kRecordAt, sizeof(Record));
  return code;
}

Result<Iterator> load_iterator() {
  auto types = TRY(KernelTypes::read());
  return Iterator::load(types, "task_file", write_program(TRY(find_layout(types))));
}

const Result<Iterator>& loaded_iterator() {
  static const Result<Iterator> iterator = load_iterator();
  return iterator;
}

}  // namespace

Result<std::map<int, SocketInsides>> look_into_sockets() {
  constexpr uint32_t kDone = 1u << 1;  // SOCK_DONE (net/sock.h)
  const Result<Iterator>& iterator = loaded_iterator();
  if (!iterator) return std::unexpected(iterator.error());
  std::string all = TRY(iterator->run(::getpid()));
  auto is_there = [](uint64_t at) { return at != 0; };
  std::map<int, SocketInsides> sockets;
  for (const auto& record : records<Record>(all)) {
    uint16_t urgent;  // and what lies behind it
    std::memcpy(&urgent, &record.urgent, sizeof urgent);
    sockets[static_cast<int>(record.fd)] = {.error = static_cast<int>(record.error),
                                            .peer_ended = (record.flags & kDone) != 0,
                                            .multicast_interface = record.multicast_interface,
                                            .datagrams = record.queued + record.being_read,
                                            .messages = record.queued,
                                            .signs = std::ranges::any_of(record.keys, is_there),
                                            .has_policy = std::ranges::any_of(record.policies, is_there),
                                            .has_chooser = record.chooser != 0,
                                            .tcp = {.urgent = urgent,
                                                    .urgent_at = record.urgent_at,
                                                    .read_up_to = record.read_up_to,
                                                    .received = record.come,
                                                    .acknowledged = record.acknowledged,
                                                    .urgent_sent = record.urgent_sent}};
  }
  return sockets;
}

void prepare_to_look_into_sockets() { (void)loaded_iterator(); }

}  // namespace ks::engine
