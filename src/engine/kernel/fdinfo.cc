// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/fdinfo.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <map>

#include "base/text.h"

namespace ks::engine {

namespace {

std::unexpected<Error> bad_line(std::string_view line) {
  return fail(fmt::format("fdinfo: cannot be read: \"{:.80}\"", line));
}

// "a:1 b: 2 c:3". Numbers may stand apart from their names.
std::map<std::string_view, std::string_view> named_words(std::string_view line) {
  std::map<std::string_view, std::string_view> words;
  std::string_view name;
  for (std::string_view word : split_words(line)) {
    size_t colon = word.find(':');
    if (colon == word.npos) {
      words[name] = word;
    } else {
      name = word.substr(0, colon);
      words[name] = word.substr(colon + 1);
    }
  }
  return words;
}

// As the kernel keeps it: 20 bits of minor number.
dev_t device_of(uint32_t kernel) { return makedev(kernel >> 20, kernel & 0xfffff); }

using Words = std::map<std::string_view, std::string_view>;

// "fhandle-type:1 f_handle:7e9e...", where there is one.
bool read_handle(Words& words, int& type, std::string& handle) {
  std::string_view digits = words["f_handle"];
  if (digits.empty()) return true;
  if (!read_number(words["fhandle-type"], type, 16) || digits.size() % 2) return false;
  for (size_t at = 0; at < digits.size(); at += 2) {
    auto byte = parse_number<unsigned>(digits.substr(at, 2), 16);
    if (!byte) return false;
    handle += static_cast<char>(*byte);
  }
  return true;
}

}  // namespace

Result<EpollLine> parse_epoll_line(std::string_view line) {
  auto words = named_words(line);
  EpollLine found;
  uint32_t device = 0;
  if (!read_number(words["tfd"], found.number) || !read_number(words["events"], found.events, 16) ||
      !read_number(words["data"], found.data, 16) || !read_number(words["ino"], found.inode, 16) ||
      !read_number(words["sdev"], device, 16))
    return bad_line(line);
  found.device = device_of(device);
  return found;
}

Result<InotifyLine> parse_inotify_line(std::string_view line) {
  auto words = named_words(line);
  InotifyLine found;
  uint32_t device = 0;
  // Hexadecimal, the watch descriptor too.
  if (!read_number(words["wd"], found.watch, 16) || !read_number(words["mask"], found.mask, 16) ||
      !read_number(words["ino"], found.inode, 16) || !read_number(words["sdev"], device, 16))
    return bad_line(line);
  found.device = device_of(device);
  if (!read_handle(words, found.handle_type, found.handle)) return bad_line(line);
  return found;
}

Result<FanotifyGroup> parse_fanotify_group(std::string_view line) {
  auto words = named_words(line);
  FanotifyGroup found;
  if (!read_number(words["flags"], found.flags, 16) || !read_number(words["event-flags"], found.event_flags, 16))
    return bad_line(line);
  return found;
}

Result<FanotifyMark> parse_fanotify_mark(std::string_view line) {
  auto words = named_words(line);
  FanotifyMark found;
  if (!read_number(words["mflags"], found.flags, 16) || !read_number(words["mask"], found.mask, 16) ||
      !read_number(words["ignored_mask"], found.ignored, 16))
    return bad_line(line);
  uint32_t device = 0;
  if (words.contains("sdev")) {
    if (!read_number(words["sdev"], device, 16)) return bad_line(line);
    found.device = device_of(device);
    found.object = FanotifyMark::Object::file_system;
  }
  if (words.contains("ino")) {
    if (!read_number(words["ino"], found.inode, 16) || !read_handle(words, found.handle_type, found.handle))
      return bad_line(line);
    found.object = FanotifyMark::Object::inode;
  } else if (words.contains("mnt_id")) {
    if (!read_number(words["mnt_id"], found.mount, 16)) return bad_line(line);
    found.object = FanotifyMark::Object::mount;
  }
  return found;
}

Result<LockLine> parse_lock_line(std::string_view line) {
  auto words = split_words(line);
  // lock: 1: KIND ADVISORY|MANDATORY|state READ|WRITE PID DEVICE START END
  if (words.size() != 9 || words[0] != "lock:") return bad_line(line);
  LockLine found{.state = std::string(words[3])};
  if (words[2] == "POSIX")
    found.kind = LockLine::Kind::record;
  else if (words[2] == "FLOCK")
    found.kind = LockLine::Kind::flock;
  else if (words[2] == "OFDLCK")
    found.kind = LockLine::Kind::description;
  else if (words[2] == "LEASE")
    found.kind = LockLine::Kind::lease;
  else
    return bad_line(line);
  if (words[4] != "READ" && words[4] != "WRITE") return bad_line(line);
  found.write = words[4] == "WRITE";
  int64_t end = 0;
  if (!read_number(words[5], found.pid) || !read_number(words[7], found.start)) return bad_line(line);
  if (words[8] != "EOF") {
    if (!read_number(words[8], end) || end < found.start) return bad_line(line);
    found.length = end - found.start + 1;
  }
  return found;
}

}  // namespace ks::engine
