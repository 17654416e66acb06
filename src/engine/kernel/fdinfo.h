// SPDX-License-Identifier: LGPL-2.1-or-later
// What /proc/PID/fdinfo tells of some kinds of files (Documentation/filesystems/proc.rst, section 3.8). All pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ks::engine {

// "tfd:        5 events:       1d data:                5 pos:0 ino:61af sdev:d"
struct EpollLine {
  int number = -1;  // under which the target was added
  uint32_t events = 0;
  uint64_t data = 0;
  ino_t inode = 0;
  dev_t device = 0;
};
Result<EpollLine> parse_epoll_line(std::string_view line);

// "inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e9e00..."
struct InotifyLine {
  int watch = 0;
  uint32_t mask = 0;
  ino_t inode = 0;
  dev_t device = 0;
  int handle_type = 0;
  std::string handle;  // bytes; empty where the file system has none
};
Result<InotifyLine> parse_inotify_line(std::string_view line);

// "fanotify flags:3 event-flags:8000"
struct FanotifyGroup {
  uint32_t flags = 0, event_flags = 0;  // of fanotify_init(2)
  bool operator==(const FanotifyGroup&) const = default;
};
Result<FanotifyGroup> parse_fanotify_group(std::string_view line);

// "fanotify ino:4f969 sdev:800013 mflags:0 mask:3b ignored_mask:40000000 fhandle-bytes:8 fhandle-type:1
// f_handle:69f..." "fanotify mnt_id:12 mflags:40 mask:38 ignored_mask:40000003" "fanotify sdev:1b mflags:0 mask:1000
// ignored_mask:0"
struct FanotifyMark {
  enum class Object { inode, mount, file_system, unknown } object = Object::unknown;
  uint32_t flags = 0;  // of fanotify_mark(2), FAN_MARK_...
  uint64_t mask = 0, ignored = 0;
  uint64_t mount = 0;
  ino_t inode = 0;
  dev_t device = 0;
  int handle_type = 0;
  std::string handle;  // bytes; empty where the file system has none
};
Result<FanotifyMark> parse_fanotify_mark(std::string_view line);

// "lock:\t1: FLOCK  ADVISORY  WRITE 359 00:13:11691 0 EOF"
struct LockLine {
  enum class Kind { record, flock, description, lease } kind = Kind::record;
  bool write = false;
  std::string state;  // of a lease: ACTIVE, BREAKING or BREAKER
  pid_t pid = 0;      // -1 of a lock of an open file description
  int64_t start = 0;
  int64_t length = 0;  // 0: to the end of the file, however long
};
Result<LockLine> parse_lock_line(std::string_view line);

}  // namespace ks::engine
