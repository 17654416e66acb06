// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/mark.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/file.h"
#include "base/text.h"

namespace ks::upgrade {

namespace {

constexpr std::string_view kSection = "X-KernelSwap";

std::string letters_of(std::string_view name) {
  std::string letters;
  for (char c : name)
    if (std::isalpha(static_cast<unsigned char>(c)))
      letters += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return letters;
}

bool is_misspelt(std::string_view section) {
  std::string letters = letters_of(section);
  return section != kSection && (letters == "xkernelswap" || letters == "kernelswap");
}

// Lines as systemd sees them: comments gone, those that end in a backslash joined.
struct Line {
  std::string text;
  size_t number = 0;  // of the first one
};

std::vector<Line> logical_lines(std::string_view text) {
  std::vector<Line> lines;
  bool continued = false;
  size_t number = 0;
  for (std::string_view raw : split(text, '\n')) {
    ++number;
    std::string_view line = trim(raw);
    if (line.starts_with('#') || line.starts_with(';')) continue;  // inside a continued line too
    if (!continued) lines.push_back({"", number});
    continued = line.ends_with('\\');
    if (continued) line.remove_suffix(1);
    lines.back().text += line;
    if (continued) lines.back().text += ' ';
  }
  return lines;
}

// A later line adds to an earlier one, an empty one takes all back.
Result<> add_paths(std::vector<std::string>& paths, std::string_view key, std::string_view value) {
  if (value.empty()) paths.clear();
  for (std::string_view word : split_words(value)) {
    auto path = std::filesystem::path(word).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    if (!path.string().starts_with("/run/")) return fail(fmt::format("{}=\"{}\": not a path below /run", key, word));
    paths.push_back(path);
  }
  return {};
}

// Of keys that refuse by default.
Result<bool> is_not_refused(std::string_view key, std::string_view value, std::string_view otherwise) {
  if (value == otherwise) return true;
  if (value == "refuse" || value.empty()) return false;
  return fail(fmt::format("{}=\"{}\": neither refuse nor {}", key, value, otherwise));
}

Result<> apply_key(Mark& mark, std::string_view key, std::string_view value, const std::string& file) {
  if (key == "Checkpoint") {
    auto yes = value.empty() ? std::optional(false) : parse_boolean(value);
    if (!yes) return fail(fmt::format("Checkpoint=\"{}\": neither yes nor no", value));
    mark.checkpoint = *yes;
    mark.file = file;
    return {};
  }
  if (key == "ExternalSockets") {
    mark.reset_external_sockets = TRY(is_not_refused(key, value, "reset"));
    return {};
  }
  if (key == "NetworkSettings") {
    mark.leave_network_settings = TRY(is_not_refused(key, value, "leave"));
    return {};
  }
  if (key == "LargestDeletedFile") {
    mark.largest_deleted_file = parse_size(value);
    if (!mark.largest_deleted_file && !value.empty())
      return fail(fmt::format("LargestDeletedFile=\"{}\": not a size, like 512M or infinity", value));
    return {};
  }
  if (key == "CarryPaths") return add_paths(mark.carry_paths, key, value);
  if (key == "LeavePaths") return add_paths(mark.leave_paths, key, value);
  return fail(
      fmt::format("unknown key \"{}\" (there are Checkpoint=, ExternalSockets=, NetworkSettings=, "
                  "LargestDeletedFile=, CarryPaths= and LeavePaths=)",
                  key));
}

}  // namespace

std::optional<bool> parse_boolean(std::string_view word) {
  std::string lower(word);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (std::string_view yes : {"1", "yes", "y", "true", "t", "on"})
    if (lower == yes) return true;
  for (std::string_view no : {"0", "no", "n", "false", "f", "off"})
    if (lower == no) return false;
  return std::nullopt;
}

std::optional<uint64_t> parse_size(std::string_view text) {
  if (text == "infinity") return ~uint64_t{0};
  constexpr std::string_view kUnits = "KMGT";
  size_t unit = text.empty() ? kUnits.npos : kUnits.find(text.back());
  int shift = unit == kUnits.npos ? 0 : 10 * static_cast<int>(unit + 1);
  if (shift) text.remove_suffix(1);
  auto number = parse_number<uint64_t>(text);
  if (!number || (*number << shift) >> shift != *number) return std::nullopt;
  return *number << shift;
}

Result<> apply_mark(Mark& mark, std::string_view text, const std::string& file) {
  bool ours = false;
  for (const Line& line : logical_lines(text)) {
    std::string_view content = trim(line.text);
    std::string where = fmt::format("{}:{}", file, line.number);
    if (content.empty()) continue;
    if (content.starts_with('[') && content.ends_with(']')) {
      std::string_view section = content.substr(1, content.size() - 2);
      if (is_misspelt(section))
        return fail(fmt::format("{}: section [{}]: did you mean [{}]?", where, section, kSection));
      ours = section == kSection;
      continue;
    }
    if (!ours) continue;
    size_t equals = content.find('=');
    if (equals == std::string_view::npos)
      return fail(fmt::format("{}: \"{}\": a key and its value, KEY=VALUE, belong here", where, content));
    TRY(in(where, apply_key(mark, trim(content.substr(0, equals)), trim(content.substr(equals + 1)), file)));
  }
  return {};
}

Result<Mark> read_mark(const std::string& fragment, const std::vector<std::string>& drop_ins) {
  Mark mark;
  std::vector<std::string> files = drop_ins;
  if (!fragment.empty()) files.insert(files.begin(), fragment);
  for (const std::string& file : files) {
    auto text = read_file(file);
    // Removed since systemd read it; the next daemon-reload will agree with us.
    if (!text && text.error().code == ENOENT) continue;
    TRY(apply_mark(mark, TRY(std::move(text)), file));
  }
  return mark;
}

}  // namespace ks::upgrade
