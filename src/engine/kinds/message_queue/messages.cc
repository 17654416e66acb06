// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/message_queue/messages.h"

#include <mqueue.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

#include "base/text.h"
#include "engine/target/undisturbed.h"

namespace ks::engine::message_queue {

namespace {

constexpr int kPatience = 10'000;  // milliseconds for the kernel to find memory for a message

bool send(int fd, const char* text, size_t length, uint32_t priority) {
  for (int i = 0; i < kPatience; ++i) {
    if (::mq_send(fd, text, length, priority) == 0) return true;
    if (errno != ENOMEM && errno != EAGAIN && errno != EINTR) return false;
    ::usleep(1000);
  }
  return false;
}

}  // namespace

// "QSIZE:129        NOTIFY:0     SIGNO:0     NOTIFY_PID:0     "
Result<Filling> filling_of(int fd) {
  constexpr std::string_view kKey = "QSIZE:";
  char text[128];
  ssize_t length = ::pread(fd, text, sizeof text, 0);
  mq_attr attributes{};
  if (length < 0 || ::mq_getattr(fd, &attributes)) return fail_errno("message queue");
  for (auto word : split_words({text, static_cast<size_t>(length)}))
    if (auto bytes = word.starts_with(kKey) ? parse_number<uint64_t>(word.substr(kKey.size())) : std::nullopt)
      return Filling{.messages = static_cast<uint64_t>(attributes.mq_curmsgs), .bytes = *bytes};
  return fail("does not tell how full it is");
}

struct Turnover::Head {
  Filling before;
  size_t most_bytes = 0;  // of a message
  timespec times[2]{};    // of access and modification, which each message changes
  std::atomic<uint32_t> taken = 0;
  std::atomic<bool> all = false;  // have been taken, and the first may be back
};

void Turnover::Unmap::operator()(Head* head) const { ::munmap(head, bytes); }

Turnover::Entry* Turnover::entries() const { return reinterpret_cast<Entry*>(head_.get() + 1); }
char* Turnover::text() const { return reinterpret_cast<char*>(entries() + head_->before.messages); }

Result<Turnover> Turnover::prepare(int fd) {
  Filling filling = TRY(filling_of(fd));
  mq_attr attributes{};
  struct stat stat{};
  if (::mq_getattr(fd, &attributes) || ::fstat(fd, &stat)) return fail_errno("message queue");
  auto most = static_cast<size_t>(attributes.mq_msgsize);
  // The kernel takes a message only into a place for the longest one. What it cannot write there is lost: so all of
  // it is there before.
  size_t bytes = sizeof(Head) + filling.messages * sizeof(Entry) + filling.bytes + most;
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) return fail_errno("memory for messages");
  std::unique_ptr<Head, Unmap> head(new (at) Head{.before = filling, .most_bytes = most}, Unmap{bytes});
  if (::mlock(at, bytes)) return fail_errno("memory for messages");
  head->times[0] = stat.st_atim;
  head->times[1] = stat.st_mtim;
  return Turnover(fd, std::move(head));
}

bool Turnover::take_all() {
  auto now = filling_of(fd_);
  if (!now) return false;
  uint64_t used = 0;
  for (uint32_t i = 0; i < head_->taken; ++i) used += entries()[i].length;
  // One more, if somebody was killed before he could say so.
  if (now->messages + head_->taken < head_->before.messages) {
    entries()[head_->taken].length = static_cast<uint32_t>(head_->before.bytes - now->bytes - used);
    used += entries()[head_->taken++].length;
  }
  while (head_->taken < head_->before.messages) {
    Entry& entry = entries()[head_->taken];
    ssize_t length = ::mq_receive(fd_, text() + used, head_->most_bytes, &entry.priority);
    if (length < 0) return false;
    entry.length = static_cast<uint32_t>(length);
    used += entry.length;
    ++head_->taken;
  }
  head_->all = true;
  return true;
}

// In the order in which they have been taken, which is by priority and then by age.
bool Turnover::put_all_back() {
  auto now = filling_of(fd_);
  if (!now) return false;
  const char* at = text();
  for (uint32_t i = 0; i < head_->taken; at += entries()[i++].length)
    if (i >= now->messages && !send(fd_, at, entries()[i].length, entries()[i].priority)) return false;
  (void)::futimens(fd_, head_->times);
  now = filling_of(fd_);
  return now && *now == head_->before;
}

bool Turnover::carry_out() { return (head_->all || take_all()) && put_all_back(); }

std::vector<Message> Turnover::messages() const {
  std::vector<Message> messages;
  const char* at = text();
  for (uint32_t i = 0; i < head_->taken; at += entries()[i++].length)
    messages.push_back({.priority = entries()[i].priority, .text = {at, entries()[i].length}});
  return messages;
}

Result<std::vector<Message>> read_messages(int fd) {
  Turnover turnover = TRY(Turnover::prepare(fd));
  if (!TRY(do_undisturbed([&] { return turnover.carry_out(); })))
    return fail("its messages have changed while they were read");
  return turnover.messages();
}

Result<> send_message(int fd, const Message& message) {
  if (::mq_send(fd, message.text.data(), message.text.size(), message.priority)) return fail_errno("mq_send");
  return {};
}

}  // namespace ks::engine::message_queue
