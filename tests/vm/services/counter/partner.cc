// SPDX-License-Identifier: LGPL-2.1-or-later
#include "partner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "report.h"

namespace {

struct Message {
  uint64_t number, hash;
};

constexpr uint64_t kSlots = 16, kWordsOfSlot = 4096;
constexpr uint64_t kOnTheirWay = 8;  // fewer than slots: none is rewritten before its answer has been read

uint64_t mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t hash(const uint64_t* words, uint64_t count) {
  uint64_t sum = count;
  for (uint64_t i = 0; i < count; ++i) sum = mix(sum ^ words[i]);
  return sum;
}

uint64_t fill(uint64_t* words, uint64_t count, uint64_t seed) {
  for (uint64_t i = 0; i < count; ++i) words[i] = mix(seed * count + i);
  return hash(words, count);
}

uint64_t* slot(uint64_t* slots, uint64_t number) { return slots + number % kSlots * kWordsOfSlot; }

// Messages are smaller than PIPE_BUF, so each is written and read in one piece.
bool receive(int fd, Message& message, const char* who) {
  ssize_t length = read(fd, &message, sizeof message);
  if (length == 0) return false;
  if (length != sizeof message) FAIL("%s: read returned %zd: %s", who, length, strerror(errno));
  return length == sizeof message;
}

void send(int fd, Message message, const char* who) {
  ssize_t length = write(fd, &message, sizeof message);
  if (length != sizeof message) FAIL("%s: write returned %zd: %s", who, length, strerror(errno));
}

[[noreturn]] void be_partner(int in, int out, uint64_t* slots) {
  Message message{};
  for (uint64_t number = 1; receive(in, message, "child"); ++number) {
    uint64_t* words = slot(slots, number);
    if (message.number != number) FAIL("child: message %lu instead of %lu", message.number, number);
    if (hash(words, kWordsOfSlot) != message.hash) FAIL("child: shared memory of message %lu", number);
    send(out, {number, fill(words, kWordsOfSlot, ~number)}, "child");
  }
  _exit(0);  // the parent is gone
}

}  // namespace

Partner Partner::start() {
  Partner partner;
  int there[2], back[2];
  void* shared = mmap(nullptr, kSlots * kWordsOfSlot * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (pipe(there) || pipe(back) || shared == MAP_FAILED) abort();
  partner.slots_ = static_cast<uint64_t*>(shared);
  pid_t pid = fork();
  if (pid < 0) abort();
  if (pid == 0) {
    close(there[1]);
    close(back[0]);
    be_partner(there[0], back[1], partner.slots_);
  }
  close(there[0]);
  close(back[1]);
  partner.to_child_ = there[1];
  partner.from_child_ = back[0];
  return partner;
}

void Partner::exchange() {
  while (sent_ < answered_ + kOnTheirWay) {
    ++sent_;
    send(to_child_, {sent_, fill(slot(slots_, sent_), kWordsOfSlot, sent_)}, "parent");
  }
  Message answer{};
  if (!receive(from_child_, answer, "parent")) {
    FAIL("parent: no answer");
    sleep_for(kSecond);
    return;
  }
  ++answered_;
  if (answer.number != answered_) FAIL("parent: answer %lu instead of %lu", answer.number, answered_);
  if (hash(slot(slots_, answered_), kWordsOfSlot) != answer.hash)
    FAIL("parent: shared memory of answer %lu", answered_);
  ++progress.messages;
}

Notes::Notes() : words_(static_cast<uint64_t*>(malloc(kPieces * kWords * sizeof(uint64_t)))) {
  if (!words_) abort();
  for (uint64_t piece = 0; piece < kPieces; ++piece) hashes_[piece] = fill(words_ + piece * kWords, kWords, piece);
}

void Notes::check_next_piece() {
  uint64_t piece = next_++ % kPieces;
  uint64_t* words = words_ + piece * kWords;
  if (hash(words, kWords) != hashes_[piece]) FAIL("private memory: piece %lu", piece);
  hashes_[piece] = fill(words, kWords, next_);
  ++progress.hashes;
}
