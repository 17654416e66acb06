// SPDX-License-Identifier: LGPL-2.1-or-later
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>

#include <limits>
#include <string>

#include "actor.h"

namespace {

constexpr uint64_t kEnd = std::numeric_limits<uint64_t>::max();

// A sequence of words in pieces of any size, read in pieces of other sizes.
void pipes(Actor& actor) {
  Random both(actor.plan.seed);
  bool packets = both.chance(25);
  uint64_t words[64], next = 0;
  if (actor.plan.begins) {
    int fd = actor.pair->fds[1];
    do {
      size_t count = actor.random.between(1, 64);
      for (size_t i = 0; i < count; ++i) words[i] = next++;
      CHECK(write(fd, words, count * 8) == static_cast<ssize_t>(count * 8));
      if (actor.random.chance(70)) actor.pause();
    } while (actor.goes_on());
    CHECK(write(fd, &kEnd, 8) == 8);
    return;
  }
  int fd = actor.pair->fds[0], epoll = -1;
  unsigned way = actor.random.below(4);
  epoll_event event{.events = way == 2 ? EPOLLIN | 0u : EPOLLIN | EPOLLET};
  if (way >= 2) {
    epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  }
  for (;;) {
    pollfd waited{fd, POLLIN, 0};
    if (way == 1) CHECK(poll(&waited, 1, -1) == 1);
    if (way >= 2) CHECK(uninterrupted([&] { return epoll_wait(epoll, &event, 1, -1); }) == 1);
    ssize_t got;
    while ((got = read(fd, words, packets ? sizeof words : 8 * actor.random.between(1, 64))) > 0) {
      CHECK(got % 8 == 0);
      for (ssize_t i = 0; i < got / 8; ++i) {
        if (words[i] == kEnd) return;
        CHECK(words[i] == next++);
      }
      actor.beat();
      if (way < 2) break;
    }
    CHECK(got > 0 || (got == -1 && errno == EAGAIN && way >= 2));
    if (actor.random.chance(20)) actor.pause(3000);
  }
}

void eventfds(Actor& actor) {
  auto& board = *actor.pair->board;
  int fd = actor.pair->fds[0];
  uint64_t sum = 0, count;
  if (actor.plan.begins) {
    do {
      count = actor.random.between(1, 5);
      sum += count;
      board.sent = sum;
      CHECK(write(fd, &count, 8) == 8);
      actor.pause();
    } while (actor.goes_on());
    board.last = sum + 1;
    count = 1;
    CHECK(write(fd, &count, 8) == 8);
    return;
  }
  do {
    CHECK(read(fd, &count, 8) == 8);
    sum += count;
    CHECK(sum <= std::max(board.sent.load(), board.last.load()));
    actor.beat();
  } while (!board.last || sum < board.last);
}

// Queued signals arrive each once and in their order.
void signals(Actor& actor) {
  auto& board = *actor.pair->board;
  int signal = SIGRTMIN + 1 + actor.plan.pair;
  uint64_t next = 0;
  if (actor.plan.begins) {
    bool more = true;
    while (more) {
      more = actor.goes_on();
      while (next > board.taken + 30) usleep(200);
      sigval value{.sival_ptr = reinterpret_cast<void*>(more ? next++ : kEnd)};
      CHECK(sigqueue(actor.pids[actor.partner->process], signal, value) == 0);
      actor.pause();
    }
    return;
  }
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  for (;;) {
    siginfo_t info{};
    CHECK(uninterrupted([&] { return sigwaitinfo(&set, &info); }) == signal && info.si_code == SI_QUEUE);
    CHECK(info.si_pid == actor.pids[actor.partner->process]);
    auto value = reinterpret_cast<uint64_t>(info.si_value.sival_ptr);
    if (value == kEnd) return;
    CHECK(value == next++);
    board.taken = next;
    actor.beat();
    if (actor.random.chance(10)) actor.pause(5000);
  }
}

// Taking turns with a page that both have mapped.
void turns(Actor& actor) {
  auto& board = *actor.pair->board;
  auto* word = reinterpret_cast<uint32_t*>(&board.turn);
  uint32_t mine = actor.plan.begins ? 0 : 1, over = 2;
  for (;;) {
    for (uint32_t turn; (turn = board.turn) != mine;) {
      if (turn == over) return;
      CHECK(syscall(SYS_futex, word, FUTEX_WAIT, turn, nullptr, nullptr, 0) == 0 || errno == EAGAIN);
    }
    CHECK(page_is(board.page, board.left));
    fill_page(board.page, ++board.left);
    actor.pause(500);
    actor.beat();
    board.turn = actor.plan.begins && told() ? over : 1 - mine;
    CHECK(syscall(SYS_futex, word, FUTEX_WAKE, 1, nullptr, nullptr, 0) >= 0);
  }
}

void mutexes(Actor& actor) {
  auto& board = *actor.pair->board;
  do {
    CHECK(pthread_mutex_lock(&board.mutex) == 0);
    CHECK(board.left == board.right);
    ++board.left;
    actor.pause(300);
    ++board.right;
    CHECK(pthread_mutex_unlock(&board.mutex) == 0);
    actor.pause();
  } while (actor.goes_on());
}

// A number in a file that is changed under a lock only.
void locks(Actor& actor) {
  auto& board = *actor.pair->board;
  Random both(actor.plan.seed);
  int fd = open(("locked-" + std::to_string(actor.plan.pair)).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  CHECK(fd >= 0);
  bool whole = both.chance(50);
  auto lock = [&](bool on) {
    struct flock range{};
    range.l_type = on ? F_WRLCK : F_UNLCK;
    range.l_whence = SEEK_SET;
    range.l_len = 8;
    CHECK((whole ? flock(fd, on ? LOCK_EX : LOCK_UN) : fcntl(fd, F_OFD_SETLKW, &range)) == 0);
  };
  do {
    uint64_t number = 0;
    lock(true);
    CHECK(pread(fd, &number, 8, 0) >= 0 && number == board.left);
    actor.pause(300);
    board.left = ++number;
    CHECK(pwrite(fd, &number, 8, 0) == 8);
    lock(false);
    actor.pause();
  } while (actor.goes_on());
}

}  // namespace

const ActorKind kDuets[] = {{"pipes", pipes}, {"pipes", pipes},     {"eventfds", eventfds}, {"signals", signals},
                            {"turns", turns}, {"mutexes", mutexes}, {"locks", locks}};
const unsigned kDuetCount = sizeof kDuets / sizeof *kDuets;

Pair make_pair_for(const ActorPlan& plan, unsigned number) {
  Random random(plan.seed);
  Pair pair;
  pair.board = reinterpret_cast<Pair::Board*>(map_memory((sizeof(Pair::Board) + kPage - 1) & -kPage, MAP_SHARED));
  if (plan.kind->act == pipes) {
    CHECK(pipe2(pair.fds, random.chance(25) ? O_DIRECT : 0) == 0);
    if (random.chance(50)) CHECK(fcntl(pair.fds[0], F_SETPIPE_SZ, kPage << random.below(5)) > 0);
  }
  if (plan.kind->act == eventfds) CHECK((pair.fds[0] = eventfd(0, 0)) >= 0);
  if (plan.kind->act == turns) fill_page(pair.board->page, 0);
  if (plan.kind->act == locks) unlink(("locked-" + std::to_string(number)).c_str());
  pthread_mutexattr_t attributes;
  CHECK(pthread_mutexattr_init(&attributes) == 0);
  CHECK(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0);
  CHECK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0);
  CHECK(pthread_mutex_init(&pair.board->mutex, &attributes) == 0);
  return pair;
}
