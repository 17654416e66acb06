// SPDX-License-Identifier: LGPL-2.1-or-later
// Reading numbers and words out of text that the kernel or an administrator wrote. All pure.
#pragma once

#include <charconv>
#include <concepts>
#include <optional>
#include <string_view>
#include <vector>

namespace ks {

// The whole of `text` must be the number.
template <std::integral T>
std::optional<T> parse_number(std::string_view text, int base = 10) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The same into a variable, which is left alone where `text` is no number.
template <std::integral T>
bool read_number(std::string_view text, T& into, int base = 10) {
  auto value = parse_number<T>(text, base);
  if (value) into = *value;
  return value.has_value();
}

// Takes what lies before `separator` from the front of `text`, and the separator; all of it where there is none.
std::string_view take_until(std::string_view& text, char separator);

std::string_view trim(std::string_view text);

// Words between runs of blanks and tabs.
std::vector<std::string_view> split_words(std::string_view text);

// Parts between single separators; an empty text has no part, a trailing separator adds none.
std::vector<std::string_view> split(std::string_view text, char separator);

}  // namespace ks
