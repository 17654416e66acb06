// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/proc.h"

#include <fmt/format.h>

#include "base/text.h"

namespace ks::engine {

namespace {

// Damage of a line, quoted in part: the texts come from processes and may be of any length.
std::unexpected<Error> bad_line(size_t number, std::string_view line) {
  return fail(fmt::format("line {}: cannot be read: \"{:.80}\"", number, line));
}

// One word of the line after another, counted as proc(5) counts the fields of /proc/PID/stat.
class StatFields {
 public:
  explicit StatFields(std::string_view text) : rest_(text) {}
  template <std::integral T>
  StatFields& get(int field, T& into) {
    while (next_ < field) skip();
    std::string_view word = skip();
    if (!read_number(word, into) && first_bad_ == 0) first_bad_ = field;
    return *this;
  }
  int first_bad() const { return first_bad_; }

 private:
  std::string_view skip() {
    ++next_;
    return take_until(rest_, ' ');
  }
  std::string_view rest_;
  int next_ = 4;
  int first_bad_ = 0;
};

}  // namespace

Result<StatLine> parse_stat(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  // No field after the name has a parenthesis, but the name may.
  size_t open = text.find(" (");
  size_t close = text.rfind(") ");
  StatLine stat;
  if (open == std::string_view::npos || close == std::string_view::npos || close < open + 2 ||
      close + 4 > text.size() || text[close + 3] != ' ' || !read_number(text.substr(0, open), stat.pid))
    return bad_line(1, text);
  stat.comm = text.substr(open + 2, close - open - 2);
  stat.state = text[close + 2];

  StatFields fields(text.substr(close + 4));
  fields.get(4, stat.ppid).get(5, stat.pgrp).get(6, stat.session).get(7, stat.tty_nr).get(9, stat.flags);
  fields.get(22, stat.start_time).get(26, stat.start_code).get(27, stat.end_code).get(28, stat.start_stack);
  fields.get(38, stat.exit_signal)
      .get(39, stat.processor)
      .get(45, stat.start_data)
      .get(46, stat.end_data)
      .get(47, stat.start_brk);
  fields.get(48, stat.arg_start).get(49, stat.arg_end).get(50, stat.env_start).get(51, stat.env_end);
  fields.get(52, stat.exit_code);
  if (fields.first_bad() != 0)
    return fail(fmt::format("line 1: field {} cannot be read: \"{:.80}\"", fields.first_bad(), text));
  return stat;
}

Result<FdInfo> parse_fdinfo(std::string_view text) {
  FdInfo info;
  // By position, not by name: what follows may hold text that a process chose.
  constexpr std::string_view kKeys[] = {"pos", "flags", "mnt_id"};
  for (size_t number = 0; number < std::size(kKeys); ++number) {
    std::string_view line = take_until(text, '\n');
    std::string_view value = line;
    if (take_until(value, ':') != kKeys[number]) return bad_line(number + 1, line);
    value = trim(value);
    bool good = false;
    if (number == 0) {
      // Signed in the file; positions in /proc/PID/mem come out as negative.
      int64_t position = 0;
      good = read_number(value, position);
      info.position = static_cast<uint64_t>(position);
    } else if (number == 1) {
      good = read_number(value, info.flags, 8);
    } else {
      good = read_number(value, info.mount);
    }
    if (!good) return bad_line(number + 1, line);
  }
  while (!text.empty()) info.rest.emplace_back(take_until(text, '\n'));
  return info;
}

std::optional<std::string_view> FdInfo::value(std::string_view key) const {
  for (std::string_view line : rest)
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ':')
      return trim(line.substr(key.size() + 1));
  return std::nullopt;
}

Result<std::string> parse_cgroup(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    if (line.starts_with("0::/")) return std::string(line.substr(3));
  }
  return fail("no group of the unified hierarchy (a line \"0::/...\")");
}

}  // namespace ks::engine
