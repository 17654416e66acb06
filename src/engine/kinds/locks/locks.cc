// SPDX-License-Identifier: LGPL-2.1-or-later
// File locks: flock(2), record locks of processes and of open files (fcntl(2)), and leases. fdinfo tells all of them.
// Who waits for one makes his call again.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include <set>

#include "engine/kernel/fdinfo.h"
#include "engine/kinds/kind.h"
#include "engine/locks.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "lock";
constexpr uint32_t kVersion = 1;

image::FileLock::Kind kind_of(const LockLine& line) {
  switch (line.kind) {
    case LockLine::Kind::record:
      return image::FileLock::RECORD;
    case LockLine::Kind::flock:
      return image::FileLock::FLOCK;
    case LockLine::Kind::description:
      return image::FileLock::DESCRIPTION;
    case LockLine::Kind::lease:
      return image::FileLock::LEASE;
  }
  return image::FileLock::RECORD;
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  std::set<uint32_t> carried;
  for (const OpenFile& file : files) carried.insert(file.id);
  std::set<std::string> told;
  for (const DumpedLock& lock : dumping.locks) {
    if (!carried.contains(lock.file)) continue;
    std::string object = dumping.open_files[lock.file].object();
    auto line = parse_lock_line(lock.line);
    if (!line) {
      dumping.refuse(lock.pid, object, "holds a lock of an unknown kind: " + lock.line);
      continue;
    }
    if (line->kind == LockLine::Kind::lease && line->state != "ACTIVE") {
      dumping.refuse(lock.pid, object, for_now("holds a lease that is being broken"));
      continue;
    }
    image::FileLock out;
    out.set_kind(kind_of(*line));
    out.set_file(lock.file);
    out.set_write(line->write);
    out.set_start(line->start);
    out.set_length(line->length);
    // Others show a lock of an open file too, under their numbers.
    int number = dumping.number_of(line->pid, lock.file);
    if (line->kind == LockLine::Kind::record || number >= 0) {
      bool own = line->kind == LockLine::Kind::record;
      out.set_pid(own ? lock.pid : line->pid);
      out.set_number(own ? dumping.number_of(lock.pid, lock.file) : number);
    }
    if (told.insert(out.SerializeAsString()).second) dumping.put_file(kName, kVersion, out);
  }
  return {};
}

struct flock range_of(const image::FileLock& lock) {
  struct flock range{};
  range.l_type = lock.write() ? F_WRLCK : F_RDLCK;
  range.l_whence = SEEK_SET;
  range.l_start = lock.start();
  range.l_len = lock.length();
  return range;
}

Result<> lock_record(const Restoring& restoring, const image::FileLock& lock) {
  RestoredProcess& process = *TRY(restoring.process(lock.pid()));
  TRY(process.memory->write_value(process.scratch, range_of(lock)));
  TRY(process.leader()(SYS_fcntl, lock.number(), F_SETLK, process.scratch));
  return {};
}

// By the process that had it, which /proc/locks shows; by us where it is gone, or has no right to it any more.
Result<> lock_file(const Restoring& restoring, const image::FileLock& lock, long call, int first, int second) {
  if (lock.pid()) {
    RestoredProcess& process = *TRY(restoring.process(lock.pid()));
    auto done = process.leader()(call, lock.number(), first, second);
    if (done) return {};
    if (done.error().code != EACCES) return fail(done.error().what, done.error().code);
  }
  if (::syscall(call, TRY(restoring.open_file(lock.file())), first, second)) return fail_errno("lock");
  return {};
}

Result<> restore(const Restoring& restoring, const image::FileLock& lock) {
  int fd = TRY(restoring.open_file(lock.file()));
  switch (lock.kind()) {
    case image::FileLock::RECORD:
      return in("F_SETLK", lock_record(restoring, lock));
    case image::FileLock::FLOCK:
      return in("flock", lock_file(restoring, lock, SYS_flock, LOCK_NB | (lock.write() ? LOCK_EX : LOCK_SH), 0));
    case image::FileLock::DESCRIPTION: {
      struct flock range = range_of(lock);
      if (::fcntl(fd, F_OFD_SETLK, &range)) return fail_errno("F_OFD_SETLK");
      return {};
    }
    case image::FileLock::LEASE:
      TRY(in("F_SETLEASE", lock_file(restoring, lock, SYS_fcntl, F_SETLEASE, lock.write() ? F_WRLCK : F_RDLCK)));
      // It has made somebody the owner; the right one comes later.
      if (::fcntl(fd, F_SETOWN, 0)) return fail_errno("F_SETOWN");
      return {};
    default:
      return fail("a lock of an unknown kind");
  }
}

Result<> connect(Restoring& restoring, std::span<const Envelope> envelopes) {
  for (const Envelope& envelope : envelopes) {
    image::FileLock lock;
    TRY(parse_body(envelope, lock));
    TRY(restore(restoring, lock));
  }
  return {};
}

}  // namespace

extern const Kind kLocks;
const Kind kLocks{.name = kName, .version = kVersion, .dump = dump, .connect = connect};

}  // namespace ks::engine
