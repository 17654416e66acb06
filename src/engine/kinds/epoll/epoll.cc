// SPDX-License-Identifier: LGPL-2.1-or-later
// epoll(7). fdinfo tells the entries, kcmp(2) which open files they mean: an entry lives as long as its file does,
// also when the number under which it was added is closed or leads elsewhere.
//
// Which entries are ready is no state: adding an entry makes it so. But an edge that has been delivered must not come
// again where that can be helped: a level-triggered program does not care, an edge-triggered one may have thought
// that only it is at work on the file.
#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "base/file.h"
#include "engine/epoll.pb.h"
#include "engine/kernel/fdinfo.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "epoll";
constexpr uint32_t kVersion = 1;

// What an entry that has fired under EPOLLONESHOT keeps.
constexpr uint32_t kPrivateBits = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;
constexpr short kAllEvents =
    POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND | POLLRDHUP;

// struct epoll_params and its ioctls, since 6.9; not in every linux/eventpoll.h.
struct BusyPoll {
  uint32_t microseconds;
  uint16_t budget;
  uint8_t prefer, padding;
};
constexpr unsigned long kSetBusyPoll = _IOW(0x8A, 0x01, BusyPoll), kGetBusyPoll = _IOR(0x8A, 0x02, BusyPoll);

bool owns(const OpenFile& file) { return file.link == "anon_inode:[eventpoll]"; }

bool fired(uint32_t events) { return events & EPOLLONESHOT && !(events & ~kPrivateBits); }

short ready_now(int fd, short events) {
  pollfd query{.fd = fd, .events = events, .revents = 0};
  return ::poll(&query, 1, 0) > 0 ? query.revents : short{0};
}

bool is_target(const OpenFile& candidate, const OpenFile& epoll, kcmp_epoll_slot slot) {
  return ::syscall(SYS_kcmp, candidate.pid, epoll.pid, KCMP_EPOLL_TFD, candidate.fd, &slot) == 0;
}

// `nth`: of several entries that were added under one number.
const OpenFile* find_target(const Dumping& dumping, const OpenFile& epoll, const EpollLine& line, uint32_t nth) {
  kcmp_epoll_slot slot{
      .efd = static_cast<uint32_t>(epoll.fd), .tfd = static_cast<uint32_t>(line.number), .toff = nth};
  for (const auto& [pid, unused] : dumping.descriptors)
    if (const OpenFile* file = dumping.file_at(pid, line.number))
      if (is_target(*file, epoll, slot)) return file;
  for (const OpenFile& file : dumping.open_files)
    if (file.stat.st_ino == line.inode && file.stat.st_dev == line.device && is_target(file, epoll, slot))
      return &file;
  return nullptr;
}

// The wait queue of a signalfd is that of the process which adds it.
Result<> find_adder(const Dumping& dumping, const OpenFile& epoll, const OpenFile& target, int number,
                    image::Epoll::Entry& out) {
  for (const auto& [pid, unused] : dumping.descriptors) {
    const OpenFile* file = dumping.file_at(pid, number);
    int epoll_number = dumping.number_of(pid, epoll.id);
    if (!file || file->id != target.id || epoll_number < 0) continue;
    if (out.adder()) return refuse("watches a signalfd, and which of several processes has added it cannot be told");
    out.set_adder(pid);
    out.set_adder_number(epoll_number);
  }
  if (!out.adder()) return refuse("watches a signalfd that was added under a number that is closed");
  return {};
}

Result<> dump_entry(Dumping& dumping, const OpenFile& epoll, const EpollLine& line, uint32_t nth, bool quiet,
                    image::Epoll::Entry& out) {
  const OpenFile* target = find_target(dumping, epoll, line, nth);
  if (!target)
    return refuse(
        fmt::format("watches a file, added as fd {}, that no process of it has open any more", line.number));
  out.set_number(line.number);
  out.set_target(target->id);
  out.set_events(line.events);
  out.set_data(line.data);
  if (target->link == "anon_inode:[signalfd]") TRY(find_adder(dumping, epoll, *target, line.number, out));
  bool edge = line.events & EPOLLET && !(line.events & EPOLLONESHOT) && quiet;
  if (!edge && !fired(line.events)) return {};
  Fd mine = TRY(target->fetch());
  if (edge) {
    out.set_told(ready_now(mine.get(), static_cast<short>(line.events & kAllEvents)));
  } else if (!ready_now(mine.get(), kAllEvents) &&
             !(S_ISFIFO(target->stat.st_mode) && (target->flags() & O_ACCMODE) == O_RDONLY)) {
    // Only an event takes an entry to where it is, and this file would give none.
    return refuse_for_now(fmt::format("has an entry for fd {} that has fired (EPOLLONESHOT)", line.number));
  }
  return {};
}

Result<> dump_one(Dumping& dumping, const OpenFile& file) {
  Fd mine = TRY(file.fetch());
  image::Epoll out;
  out.set_id(file.id);
  out.set_flags(static_cast<uint32_t>(file.flags()));
  BusyPoll busy{};
  if (::ioctl(mine.get(), kGetBusyPoll, &busy) == 0 && (busy.microseconds || busy.budget || busy.prefer))
    out.set_busy_poll(&busy, sizeof busy);
  // Nothing to deliver: then every edge has been.
  bool quiet = ready_now(mine.get(), POLLIN) == 0;
  std::map<int, uint32_t> seen;
  for (const auto& text : file.info.rest) {
    if (!text.starts_with("tfd:")) continue;
    EpollLine line = TRY(parse_epoll_line(text));
    auto dumped = dump_entry(dumping, file, line, seen[line.number]++, quiet, *out.add_entries());
    if (!dumped && dumped.error().refusal)
      dumping.refuse(file.pid, file.object(), dumped.error().what);
    else
      TRY(std::move(dumped));
  }
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  for (const OpenFile& file : files) TRY(in(file.object(), dump_one(dumping, file)));
  return {};
}

Result<Fds> make(Restoring&, std::span<const Envelope> envelopes) {
  Fds made;
  for (const Envelope& envelope : envelopes) {
    image::Epoll file;
    TRY(parse_body(envelope, file));
    Fd fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!fd) return fail_errno("epoll_create1");
    if (::fcntl(fd.get(), F_SETFL, static_cast<int>(file.flags()))) return fail_errno("epoll flags");
    if (file.busy_poll().size() == sizeof(BusyPoll) && ::ioctl(fd.get(), kSetBusyPoll, file.busy_poll().data()))
      return fail_errno("EPIOCSPARAMS");
    made.emplace(file.id(), std::move(fd));
  }
  return made;
}

epoll_event event_of(const image::Epoll::Entry& entry) {
  return {.events = entry.events(), .data = {.u64 = entry.data()}};
}

// Within a table of descriptors of our own: the number is a part of what the kernel remembers.
Result<> add_as(int epoll, int target, int number, epoll_event event) {
  Fd own_epoll(::fcntl(epoll, F_DUPFD_CLOEXEC, number + 1)), own_target(::fcntl(target, F_DUPFD_CLOEXEC, number + 1));
  if (!own_epoll || !own_target) return fail_errno("F_DUPFD");
  Fd occupant(::fcntl(number, F_DUPFD_CLOEXEC, number + 1));
  if (::dup2(own_target.get(), number) < 0) return fail_errno("dup2");
  int failed = ::epoll_ctl(own_epoll.get(), EPOLL_CTL_ADD, number, &event) ? errno : 0;
  if (occupant)
    ::dup3(occupant.get(), number, O_CLOEXEC);
  else
    ::close(number);
  if (failed) return fail_errno(fmt::format("EPOLL_CTL_ADD of fd {}", number), failed);
  return {};
}

// An empty pipe has something to tell for a moment.
class Stirred {
 public:
  explicit Stirred(int reader) : reader_(reader) {
    auto writer = open_file(fmt::format("/proc/thread-self/fd/{}", reader), O_WRONLY | O_NONBLOCK);
    stirred_ = writer && ::write(writer->get(), "x", 1) == 1;
  }
  ~Stirred() {
    char byte;
    if (stirred_) (void)!::read(reader_, &byte, 1);
  }
  Stirred(const Stirred&) = delete;

 private:
  int reader_;
  bool stirred_;
};

// Only by firing does an entry become one that has fired: epoll_ctl(2) always arms.
Result<> add_fired(int epoll, int target, const image::Epoll::Entry& entry) {
  epoll_event event = event_of(entry), got;
  event.events |= static_cast<uint32_t>(kAllEvents);
  TRY(add_as(epoll, target, entry.number(), event));
  if (::epoll_wait(epoll, &got, 1, 0) == 1) return {};
  {
    Stirred stirred(target);
    if (::epoll_wait(epoll, &got, 1, 0) == 1) return {};
  }
  return fail(fmt::format("the entry for fd {}, which had fired, cannot be made to", entry.number()));
}

// In the order that lets nothing be delivered but what is to be.
Result<> add_entries(int epoll, const image::Epoll& file, const Restoring& restoring) {
  for (const auto& entry : file.entries())
    if (fired(entry.events())) TRY(add_fired(epoll, TRY(restoring.open_file(entry.target())), entry));
  bool told = false;
  for (const auto& entry : file.entries())
    if (entry.told()) {
      TRY(add_as(epoll, TRY(restoring.open_file(entry.target())), entry.number(), event_of(entry)));
      told = true;
    }
  epoll_event events[64];
  while (told && ::epoll_wait(epoll, events, std::size(events), 0) > 0) {
  }
  for (const auto& entry : file.entries())
    if (!fired(entry.events()) && !entry.told() && !entry.adder())
      TRY(add_as(epoll, TRY(restoring.open_file(entry.target())), entry.number(), event_of(entry)));
  return {};
}

Result<> add_remotely(const Restoring& restoring, const image::Epoll::Entry& entry) {
  RestoredProcess& process = *TRY(restoring.process(entry.adder()));
  epoll_event event = event_of(entry);
  TRY(process.memory->write_value(process.scratch, event));
  TRY(process.leader()(SYS_epoll_ctl, entry.adder_number(), EPOLL_CTL_ADD, entry.number(), process.scratch));
  return {};
}

Result<> fill(const Restoring& restoring, const image::Epoll& file) {
  int epoll = TRY(restoring.open_file(file.id()));
  Result<> done;
  // Only a thread can leave our table of descriptors without taking all of us along.
  std::thread([&] {
    if (::unshare(CLONE_FILES))
      done = fail_errno("unshare");
    else
      done = add_entries(epoll, file, restoring);
  }).join();
  TRY(std::move(done));
  for (const auto& entry : file.entries())
    if (entry.adder()) TRY(in("EPOLL_CTL_ADD", add_remotely(restoring, entry)));
  return {};
}

// What is watched comes before who watches: an entry for an epoll that is still empty would not know what is ready.
Result<> connect(Restoring& restoring, std::span<const Envelope> envelopes) {
  std::map<uint32_t, image::Epoll> files;
  for (const Envelope& envelope : envelopes) {
    image::Epoll file;
    TRY(parse_body(envelope, file));
    files[file.id()] = std::move(file);
  }
  std::set<uint32_t> filled;
  while (filled.size() < files.size()) {
    size_t before = filled.size();
    for (const auto& [id, file] : files) {
      bool waits = std::ranges::any_of(file.entries(), [&](const auto& entry) {
        return files.contains(entry.target()) && !filled.contains(entry.target());
      });
      if (waits || filled.contains(id)) continue;
      TRY(fill(restoring, file));
      filled.insert(id);
    }
    if (filled.size() == before) return fail("watch one another in a circle");
  }
  return {};
}

}  // namespace

extern const Kind kEpoll;
const Kind kEpoll{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make, .connect = connect};

}  // namespace ks::engine
