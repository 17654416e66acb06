// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>

#include <unordered_map>

#include "base/text.h"
#include "engine/kernel/proc.h"

namespace ks::engine {

namespace {

template <class T>
bool read_list(std::string_view text, std::vector<T>& into) {
  into.clear();
  for (std::string_view word : split_words(text))
    if (!read_number(word, into.emplace_back())) return false;
  return true;
}

template <class T>
bool read_four(std::string_view text, std::array<T, 4>& into) {
  auto words = split_words(text);
  if (words.size() != into.size()) return false;
  for (size_t i = 0; i < into.size(); ++i)
    if (!read_number(words[i], into[i])) return false;
  return true;
}

// The kernel writes a newline as "\n" and a backslash as "\\" here, and nothing else.
bool read_name(std::string_view text, std::string& into) {
  into.clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      ++i;
      into.push_back(text[i] == 'n' ? '\n' : text[i]);
    } else {
      into.push_back(text[i]);
    }
  }
  return true;
}

bool read_state(std::string_view text, char& into) {
  if (text.empty()) return false;
  into = text[0];
  return true;
}

bool read_mask(std::string_view text, uint64_t& into) { return read_number(text, into, 16); }

bool read_flag(std::string_view text, bool& into) {
  into = text == "1";
  return into || text == "0";
}

bool read_untag_mask(std::string_view text, bool& tagged) {
  uint64_t mask = 0;
  if (!text.starts_with("0x") || !read_mask(text.substr(2), mask)) return false;
  tagged = mask != ~uint64_t{0};
  return true;
}

using Reader = bool (*)(std::string_view value, Status& into);

const std::unordered_map<std::string_view, Reader>& readers() {
  static const std::unordered_map<std::string_view, Reader> readers = {
      {"Name", [](auto v, auto& s) { return read_name(v, s.name); }},
      {"Umask", [](auto v, auto& s) { return read_number(v, s.umask, 8); }},
      {"State", [](auto v, auto& s) { return read_state(v, s.state); }},
      {"Tgid", [](auto v, auto& s) { return read_number(v, s.tgid); }},
      {"Pid", [](auto v, auto& s) { return read_number(v, s.pid); }},
      {"TracerPid", [](auto v, auto& s) { return read_number(v, s.tracer_pid); }},
      {"Uid", [](auto v, auto& s) { return read_four(v, s.uids); }},
      {"Gid", [](auto v, auto& s) { return read_four(v, s.gids); }},
      {"Groups", [](auto v, auto& s) { return read_list(v, s.groups); }},
      {"NSpid", [](auto v, auto& s) { return read_list(v, s.ns_pids); }},
      {"NSpgid", [](auto v, auto& s) { return read_list(v, s.ns_groups); }},
      {"NSsid", [](auto v, auto& s) { return read_list(v, s.ns_sessions); }},
      {"SigPnd", [](auto v, auto& s) { return read_mask(v, s.pending); }},
      {"ShdPnd", [](auto v, auto& s) { return read_mask(v, s.shared_pending); }},
      {"SigBlk", [](auto v, auto& s) { return read_mask(v, s.blocked); }},
      {"SigIgn", [](auto v, auto& s) { return read_mask(v, s.ignored); }},
      {"SigCgt", [](auto v, auto& s) { return read_mask(v, s.caught); }},
      {"CapInh", [](auto v, auto& s) { return read_mask(v, s.cap_inheritable); }},
      {"CapPrm", [](auto v, auto& s) { return read_mask(v, s.cap_permitted); }},
      {"CapEff", [](auto v, auto& s) { return read_mask(v, s.cap_effective); }},
      {"CapBnd", [](auto v, auto& s) { return read_mask(v, s.cap_bounding); }},
      {"CapAmb", [](auto v, auto& s) { return read_mask(v, s.cap_ambient); }},
      {"NoNewPrivs", [](auto v, auto& s) { return read_flag(v, s.no_new_privs); }},
      {"Seccomp", [](auto v, auto& s) { return read_number(v, s.seccomp); }},
      {"untag_mask", [](auto v, auto& s) { return read_untag_mask(v, s.tagged_addresses); }},
      {"x86_Thread_features",
       [](auto v, auto& s) {
         s.thread_features = v;
         return true;
       }},
  };
  return readers;
}

}  // namespace

Result<Status> parse_status(std::string_view text) {
  Status status;
  size_t number = 0;
  bool named = false;
  for (std::string_view line : split(text, '\n')) {
    ++number;
    size_t colon = line.find(':');
    if (colon == std::string_view::npos) return fail(fmt::format("line {}: has no colon: \"{:.80}\"", number, line));
    std::string_view key = line.substr(0, colon);
    auto reader = readers().find(key);
    if (reader == readers().end()) continue;
    std::string_view value = line.substr(colon + 1);
    // A name may begin and end with blanks of its own.
    if (key == "Name")
      value.remove_prefix(value.starts_with('\t') ? 1 : 0);
    else
      value = trim(value);
    if (!reader->second(value, status)) return fail(fmt::format("line {}: cannot be read: \"{:.80}\"", number, line));
    named |= key == "Pid";
  }
  if (!named) return fail(fmt::format("line {}: ends without a line \"Pid:\"", number));
  return status;
}

}  // namespace ks::engine
