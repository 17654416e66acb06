// SPDX-License-Identifier: LGPL-2.1-or-later
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/timerfd.h>

#include <linux/futex.h>

#include <array>
#include <string>
#include <thread>

#include "../programs/ring.h"
#include "actor.h"

namespace {

timespec to_timespec(int64_t nanoseconds) { return {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000}; }

void clocks(Actor& actor) {
  const clockid_t all[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME, CLOCK_MONOTONIC_RAW,
                           CLOCK_MONOTONIC_COARSE};
  int64_t last[5]{};
  do {
    for (int i = 0; i < 5; ++i) {
      int64_t time = now(all[i]);
      CHECK(time >= last[i]);
      last[i] = time;
    }
    actor.pause(300);
  } while (actor.goes_on());
}

// Pages of which it knows what they hold, through all that can be done to an area.
void change_memory(Actor& actor, char* area, size_t pages, bool anonymous) {
  std::vector<uint64_t> holds(pages, 0);  // 0: nothing
  auto page = [&](size_t i) { return area + i * kPage; };
  auto right = [&](size_t i) { return holds[i] ? page_is(page(i), holds[i]) : page_is_zero(page(i)); };
  do {
    size_t i = actor.random.below(static_cast<unsigned>(pages));
    CHECK(right(i));
    switch (actor.random.below(anonymous ? 7 : 4)) {
      case 0:
        CHECK(mprotect(page(i), kPage, PROT_NONE) == 0);
        actor.pause();
        CHECK(mprotect(page(i), kPage, PROT_READ | PROT_WRITE) == 0 && right(i));
        break;
      case 4:
        CHECK(madvise(page(i), kPage, MADV_DONTNEED) == 0);
        holds[i] = 0;
        break;
      case 5:
        if (pages > 2 && actor.random.chance(10)) CHECK(munmap(page(--pages), kPage) == 0);
        break;
      case 6: {
        if (holds.size() > 1) break;  // of one area only
        void* moved = mremap(area, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, map_memory(kPage));
        CHECK(moved != MAP_FAILED);
        area = static_cast<char*>(moved);
        CHECK(right(0));
        break;
      }
      default:
        holds[i] = actor.random.next() | 1;
        fill_page(page(i), holds[i]);
    }
    actor.pause(500);
  } while (actor.goes_on());
  for (size_t i = 0; i < pages; ++i) CHECK(right(i));
}

void memory(Actor& actor) {
  size_t pages = actor.random.chance(30) ? 1 : actor.random.between(2, 100);
  change_memory(actor, map_memory(pages * kPage, actor.random.chance(50) ? MAP_PRIVATE : MAP_SHARED), pages, false);
}

void private_memory(Actor& actor) {
  size_t pages = actor.random.chance(30) ? 1 : actor.random.between(2, 50);
  change_memory(actor, map_memory(pages * kPage), pages, true);
}

int own_file(const Actor& actor, int flags) {
  std::string name = "random-" + std::to_string(actor.index);
  int fd = open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);
  CHECK(fd >= 0);
  return fd;
}

void file_memory(Actor& actor) {
  size_t pages = actor.random.between(1, 30);
  int fd = own_file(actor, O_TRUNC);
  if (actor.random.chance(30)) CHECK(unlink(("random-" + std::to_string(actor.index)).c_str()) == 0);
  CHECK(ftruncate(fd, static_cast<off_t>(pages * kPage)) == 0);
  int flags = actor.random.chance(60) ? MAP_SHARED : MAP_PRIVATE;
  void* area = mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, flags, fd, 0);
  CHECK(area != MAP_FAILED);
  if (actor.random.chance(50)) close(fd);
  change_memory(actor, static_cast<char*>(area), pages, false);
}

void file(Actor& actor) {
  int writer = own_file(actor, O_TRUNC | (actor.random.chance(50) ? O_APPEND : 0)), reader = own_file(actor, 0);
  if (actor.random.chance(30)) CHECK(unlink(("random-" + std::to_string(actor.index)).c_str()) == 0);
  uint64_t written = 0, seen = 0, got;
  do {
    for (unsigned n = actor.random.below(4); n > 0; --n, ++written)
      CHECK(write(writer, &written, sizeof written) == sizeof written);
    actor.pause();
    while (read(reader, &got, sizeof got) == sizeof got) CHECK(got == seen++);
    CHECK(seen == written && lseek(reader, 0, SEEK_CUR) == static_cast<off_t>(written * sizeof written));
  } while (actor.goes_on());
}

// A dump reads what is left of a timer and the clock one after the other, and puts the timer off rather than forward
// by the time between: microseconds, unless the machine is busy.
constexpr int64_t kPutOff = 8 * kMillisecond;

// Not one expiration too many, not one too few.
void timerfd(Actor& actor) {
  clockid_t clock = actor.random.chance(70) ? CLOCK_MONOTONIC : CLOCK_BOOTTIME;
  int fd = timerfd_create(clock, TFD_CLOEXEC);
  int64_t interval = actor.random.between(10, 40) * kMillisecond, start = now(clock) + interval;
  itimerspec setting{to_timespec(interval), to_timespec(start)};
  CHECK(fd >= 0 && timerfd_settime(fd, TFD_TIMER_ABSTIME, &setting, nullptr) == 0);
  auto due = [&](int64_t time) { return time < start ? 0 : (time - start) / interval + 1; };
  int64_t total = 0;
  do {
    uint64_t expirations = 0;
    int64_t before = due(now(clock) - kPutOff);
    CHECK(uninterrupted([&] { return read(fd, &expirations, sizeof expirations); }) == sizeof expirations);
    total += static_cast<int64_t>(expirations);
    CHECK(total >= before && total <= due(now(clock)));
    if (actor.random.chance(20)) actor.pause(100'000);
  } while (actor.goes_on());
}

void posix_timer(Actor& actor) {
  int signal = SIGRTMAX - static_cast<int>(actor.index % 8);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = signal;
  event.sigev_value.sival_int = 4711;
  event._sigev_un._tid = gettid();
  timer_t timer;
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  int64_t interval = actor.random.between(2, 20) * kMillisecond, start = now() + interval;
  itimerspec setting{to_timespec(interval), to_timespec(start)};
  CHECK(timer_settime(timer, TIMER_ABSTIME, &setting, nullptr) == 0);
  int64_t total = 0;
  do {
    siginfo_t info{};
    CHECK(uninterrupted([&] { return sigwaitinfo(&set, &info); }) == signal && info.si_code == SI_TIMER &&
          info.si_value.sival_int == 4711);
    total += 1 + info.si_overrun;
    CHECK(total <= (now() - start) / interval + 1);
  } while (actor.goes_on());
  CHECK(timer_delete(timer) == 0);
}

// Each way of waiting waits as long as it was told, and ends as it does when nothing has come.
void sleeps(Actor& actor) {
  sigset_t unused;
  sigemptyset(&unused);
  sigaddset(&unused, SIGUSR2);
  int pipes[2], epoll = epoll_create1(EPOLL_CLOEXEC);
  CHECK(pipe2(pipes, O_CLOEXEC) == 0 && epoll >= 0);
  epoll_event event{.events = EPOLLIN};
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0], &event) == 0);
  sem_t semaphore;
  CHECK(sem_init(&semaphore, 0, 0) == 0);
  uint32_t word = 7;
  do {
    int64_t start = now();
    int milliseconds = static_cast<int>(actor.random.between(1, 30));
    int64_t length = milliseconds * kMillisecond;
    timespec time = to_timespec(length), end = to_timespec(start + length), rest{};
    pollfd waited{pipes[0], POLLIN, 0};
    switch (actor.random.below(8)) {
      case 0:
        CHECK(nanosleep(&time, &rest) == 0);
        break;
      case 1:
        CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr) == 0);
        break;
      case 2:
        CHECK(poll(&waited, 1, milliseconds) == 0);
        break;
      case 3:
        CHECK(uninterrupted([&] { return epoll_wait(epoll, &event, 1, milliseconds); }) == 0);
        break;
      case 4: {
        fd_set files;
        FD_ZERO(&files);
        FD_SET(pipes[0], &files);
        timeval limit{0, milliseconds * 1000};
        CHECK(uninterrupted([&] { return select(pipes[0] + 1, &files, nullptr, nullptr, &limit); }) == 0);
        break;
      }
      case 5:
        CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 7, &time, nullptr, 0) == -1 && errno == ETIMEDOUT);
        break;
      case 6:
        CHECK(uninterrupted([&] { return sigtimedwait(&unused, nullptr, &time); }) == -1 && errno == EAGAIN);
        break;
      default:
        CHECK(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &end) == -1 && errno == ETIMEDOUT);
    }
    CHECK(now() - start >= length);
  } while (actor.goes_on());
}

// Children that see the memory of the moment at which they were cloned, and whose ends are told.
void forks(Actor& actor) {
  char* area = map_memory(kPage * 4);
  do {
    uint64_t seed = actor.random.next();
    unsigned code = actor.random.below(200), length = actor.random.below(3000);
    fill_page(area + kPage, seed);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      usleep(length);
      _exit(page_is(area + kPage, seed) && page_is_zero(area) ? static_cast<int>(code) : 255);
    }
    fill_page(area + kPage, seed + 1);
    actor.pause(3000);  // it may be a zombie by then
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == static_cast<int>(code));
    actor.pause(5000);
  } while (actor.goes_on());
}

void threads(Actor& actor) {
  do {
    unsigned length = actor.random.below(2000);
    uint64_t sum = 0;
    std::thread other([&] {
      for (unsigned i = 0; i < length; ++i) sum += i;
      usleep(length);
    });
    actor.pause();
    other.join();
    CHECK(sum == static_cast<uint64_t>(length) * (length ? length - 1 : 0) / 2);
    actor.pause(5000);
  } while (actor.goes_on());
}

// A child that is stopped stands still until it is continued.
void stops(Actor& actor) {
  auto* count = reinterpret_cast<std::atomic<uint64_t>*>(map_memory(kPage, MAP_SHARED));
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0)
    for (;; usleep(200)) ++*count;
  int status;
  do {
    CHECK(kill(child, SIGSTOP) == 0);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    uint64_t before = *count;
    actor.pause(10'000);
    CHECK(*count == before);
    CHECK(kill(child, SIGCONT) == 0);
    while (*count == before) usleep(200);
  } while (actor.goes_on());
  CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
}

constexpr unsigned kRingFlags[] = {0, IORING_SETUP_COOP_TASKRUN, IORING_SETUP_SINGLE_ISSUER,
                                   IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
// Before anybody forks: a child would keep a ring that is made to see.
const std::array kCanHaveRing = {can_have(kRingFlags[0]), can_have(kRingFlags[1]), can_have(kRingFlags[2]),
                                 can_have(kRingFlags[3])};

// Requests of a ring that are over soon, at once or by a thread of the kernel.
void ring_requests(Actor& actor) {
  if (!kCanHaveRing[0]) return;
  unsigned which = actor.random.below(4), entries = 1u << actor.random.below(5);
  Ring ring(entries, kCanHaveRing[which] ? kRingFlags[which] : 0);
  int fd = open("/", O_TMPFILE | O_RDWR, 0600);
  std::vector<uint64_t> words(entries);
  uint64_t seed = actor.random.next();
  for (uint64_t i = 0; fd >= 0 && i < entries; ++i) {
    uint64_t word = seed + i;
    CHECK(pwrite(fd, &word, sizeof word, static_cast<off_t>(i * sizeof word)) == sizeof word);
  }
  __kernel_timespec moment{.tv_sec = 0, .tv_nsec = 3 * kMillisecond};
  do {
    unsigned count = actor.random.between(1, entries);
    std::vector<int32_t> results(count);
    for (unsigned i = 0; i < count; ++i) {
      switch (actor.random.below(fd >= 0 ? 4 : 2)) {
        case 0:
          ring.prepare(IORING_OP_NOP, i);
          break;
        case 1: {
          io_uring_sqe& request = ring.prepare(IORING_OP_TIMEOUT, i);
          request.addr = reinterpret_cast<uint64_t>(&moment);
          request.len = 1;
          results[i] = -ETIME;
          break;
        }
        default:
          words[i] = 0;
          ring.prepare_read(fd, &words[i], sizeof words[i], i * sizeof words[i], i);
          if (actor.random.chance(50)) ring.last().flags = IOSQE_ASYNC;
          results[i] = sizeof words[i];
      }
      if (actor.random.chance(20)) actor.pause(1000);
    }
    ring.submit(actor.random.chance(50) ? count : 0);
    if (actor.random.chance(50)) actor.pause(2000);
    for (unsigned taken = 0; taken < count; ++taken) {
      io_uring_cqe completion = ring.take_any();
      CHECK(completion.user_data < count && completion.res == results[completion.user_data]);
      if (completion.res > 0) CHECK(words[completion.user_data] == seed + completion.user_data);
    }
    actor.pause(2000);
  } while (actor.goes_on());
  close(fd);
}

void floats(Actor& actor) {
  do {
    double x = actor.random.below(1000) + 0.5, sum = 0;
    long double y = 0;
    for (int i = 0; i < 20'000; ++i) sum += x, y += 0.25L;
    CHECK(y == 5000.0L && sum == x * 20'000);
    actor.pause();
  } while (actor.goes_on());
}

}  // namespace

const ActorKind kSoloists[] = {
    {"clocks", clocks},
    {"memory", memory},
    {"private_memory", private_memory},
    {"file_memory", file_memory},
    {"file", file},
    {"timerfd", timerfd},
    {"posix_timer", posix_timer},
    {"sleeps", sleeps},
    {"sleeps", sleeps},
    {"forks", forks},
    {"threads", threads},
    {"stops", stops},
    {"floats", floats},
    {"ring_requests", ring_requests},
};
const unsigned kSoloistCount = sizeof kSoloists / sizeof *kSoloists;
