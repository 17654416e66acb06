// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/terminal_insides.h"

#include <unistd.h>

#include <span>

#include "engine/kernel/iterator.h"
#include "engine/kernel/kernel_memory.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

namespace {

using namespace bpf;

constexpr size_t kWord = sizeof(uint64_t), kBits = 8;
constexpr size_t kRoom = 4096;  // N_TTY_BUF_SIZE

// Where it lies.
struct Layout {
  uint32_t private_data = 0, terminal = 0, port = 0, discipline = 0;
  uint32_t first = 0, last = 0, used = 0, handed_on = 0;  // of the buffers before the line discipline
  uint32_t tail = 0, head = 0, text = 0, ends = 0;
  uint32_t push = 0, literally = 0;  // bits
};

Result<Layout> find_layout(const KernelTypes& types) {
  uint32_t buffers = TRY(types.offset("tty_port", "buf"));
  return Layout{.private_data = TRY(types.offset("file", "private_data")),
                .terminal = TRY(types.offset("tty_file_private", "tty")),
                .port = TRY(types.offset("tty_struct", "port")),
                .discipline = TRY(types.offset("tty_struct", "disc_data")),
                .first = buffers + TRY(types.offset("tty_bufhead", "head")),
                .last = buffers + TRY(types.offset("tty_bufhead", "tail")),
                .used = TRY(types.offset("tty_buffer", "used")),
                .handed_on = TRY(types.offset("tty_buffer", "read")),
                .tail = TRY(types.offset("n_tty_data", "read_tail")),
                .head = TRY(types.offset("n_tty_data", "read_head")),
                .text = TRY(types.offset("n_tty_data", "read_buf")),
                .ends = TRY(types.offset("n_tty_data", "read_flags")),
                .push = TRY(types.bit("n_tty_data", "push")),
                .literally = TRY(types.bit("n_tty_data", "lnext"))};
}

// What the program writes for each of our files, of which it takes every one for a terminal.
struct Record {
  uint64_t discipline, tail, head, first, last, port;
  uint32_t fd, used, handed_on;
  uint8_t push, literally, unused[2];

  // What is written to the master goes through buffers of the slave's port, of which the kernel hands on one after
  // the other, the last one for as long as something is added.
  bool is_on_its_way() const { return first != last || used != handed_on; }
};
constexpr int64_t kRecordAt = -static_cast<int64_t>(sizeof(Record));

std::vector<bpf_insn> write_program(const Layout& layout) {
  auto at = [](size_t member) { return kRecordAt + static_cast<int64_t>(member); };
  auto code = begin(kContextFile);
  append(code, clear(kRecordAt, sizeof(Record)));
  append(code, {load(BPF_W, BPF_REG_1, BPF_REG_6, kContextFd), store(BPF_W, BPF_REG_1, at(offsetof(Record, fd)))});
  append(code, follow(at(offsetof(Record, port)), layout.private_data));
  append(code, follow(at(offsetof(Record, port)), layout.terminal));
  code.push_back(copy(BPF_REG_8, BPF_REG_7));
  append(code, follow(at(offsetof(Record, port)), layout.port));
  append(code, read(at(offsetof(Record, last)), kWord, BPF_REG_7, layout.last));
  append(code, follow(at(offsetof(Record, first)), layout.first));
  append(code, read(at(offsetof(Record, used)), sizeof(uint32_t), BPF_REG_7, layout.used));
  append(code, read(at(offsetof(Record, handed_on)), sizeof(uint32_t), BPF_REG_7, layout.handed_on));
  code.push_back(copy(BPF_REG_7, BPF_REG_8));
  append(code, follow(at(offsetof(Record, discipline)), layout.discipline));
  append(code, read(at(offsetof(Record, tail)), kWord, BPF_REG_7, layout.tail));
  append(code, read(at(offsetof(Record, head)), kWord, BPF_REG_7, layout.head));
  append(code, read(at(offsetof(Record, push)), 1, BPF_REG_7, layout.push / kBits));
  append(code, read(at(offsetof(Record, literally)), 1, BPF_REG_7, layout.literally / kBits));
  finish(code, kRecordAt, sizeof(Record));
  return code;
}

class Insides {
 public:
  static Result<Insides> look_into() {
    auto types = TRY(KernelTypes::read());
    auto layout = TRY(find_layout(types));
    auto iterator = TRY(Iterator::load(types, "task_file", write_program(layout)));
    return Insides(std::move(types), layout, std::move(iterator));
  }

  Result<TerminalInput> input_of(int slave) const {
    Record record = TRY(look(slave));
    TerminalInput input{.bytes = {},
                        .ends_line = {},
                        .has_been_pushed = has_bit(record.push, layout_.push),
                        .takes_next_literally = has_bit(record.literally, layout_.literally),
                        .on_its_way = record.is_on_its_way()};
    uint64_t bytes = record.head - record.tail;
    if (input.on_its_way || !bytes) return input;
    if (bytes > kRoom) return fail("the kernel is unknown");
    // From a place on that is a whole number of words, the room going round.
    uint64_t from = record.tail / kWord * kWord, to = record.head;
    std::vector<uint64_t> places;
    for (uint64_t at = from; at < to; at += kWord) places.push_back(record.discipline + layout_.text + at % kRoom);
    size_t words = places.size();
    for (uint64_t at = from; at < to; at += kWord)
      places.push_back(record.discipline + layout_.ends + at % kRoom / kBits);
    auto all = TRY(read_kernel(types_, places));
    for (uint64_t at = record.tail; at < to; ++at) {
      uint64_t word = (at - from) / kWord, place = at % kWord;
      input.bytes += static_cast<char>(all[word] >> place * kBits);
      input.ends_line.push_back(all[words + word] >> place & 1);
    }
    return input;
  }

 private:
  Insides(KernelTypes types, const Layout& layout, Iterator iterator)
      : types_(std::move(types)), layout_(layout), terminals_(std::move(iterator)) {}

  static bool has_bit(uint8_t byte, uint32_t bit) { return byte >> bit % kBits & 1; }

  Result<Record> look(int fd) const {
    std::string written = TRY(terminals_.run(::getpid()));
    for (const auto& record : records<Record>(written))
      if (record.fd == static_cast<uint32_t>(fd) && record.discipline) return record;
    return fail("the kernel does not tell of the terminal");
  }

  KernelTypes types_;
  Layout layout_;
  Iterator terminals_;
};

}  // namespace

Result<TerminalInput> look_at_input(int slave) {
  static const Result<Insides> insides = Insides::look_into();
  if (!insides) return std::unexpected(insides.error());
  return insides->input_of(slave);
}

}  // namespace ks::engine
