// SPDX-License-Identifier: LGPL-2.1-or-later
// What is in a POSIX message queue. Nobody can look: whoever reads a message takes it (mq_receive(3)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace ks::engine::message_queue {

// How full a queue is (ipc/mqueue.c).
struct Filling {
  uint64_t messages = 0, bytes = 0;
  bool operator==(const Filling&) const = default;
};
// `fd`: a description of our own, for a read(2) of it moves its position.
Result<Filling> filling_of(int fd);

struct Message {
  uint32_t priority = 0;
  std::string text;
  bool operator==(const Message&) const = default;
};

// All messages of a queue, taken and put back. In memory that outlives each of those who do it: whoever goes on after
// one of them has been killed finds from the queue itself how far it was.
class Turnover {
 public:
  // `fd`: for reading and writing, O_NONBLOCK. Nobody else uses the queue until the turnover is over.
  static Result<Turnover> prepare(int fd);
  // Whether everything is in its place again; can be called again if not.
  bool carry_out();
  std::vector<Message> messages() const;

 private:
  struct Entry {
    uint32_t priority, length;
  };
  struct Head;
  struct Unmap {
    size_t bytes = 0;
    void operator()(Head* head) const;
  };
  Turnover(int fd, std::unique_ptr<Head, Unmap> head) : fd_(fd), head_(std::move(head)) {}
  bool take_all();
  bool put_all_back();
  Entry* entries() const;
  char* text() const;

  int fd_;
  std::unique_ptr<Head, Unmap> head_;
};

// Reads what is in a queue that only stopped processes of ours have; undisturbed (target/undisturbed.h).
Result<std::vector<Message>> read_messages(int fd);

// Into an empty queue.
Result<> send_message(int fd, const Message& message);

}  // namespace ks::engine::message_queue
