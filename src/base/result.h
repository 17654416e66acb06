// SPDX-License-Identifier: LGPL-2.1-or-later
// Errors are values. An error travels up as one line of text that each level prefixes with what it
// was about (unit, pid, object); the top prints it.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace ks {

struct Error {
  int code = 0;  // an errno value, or 0 where no system call failed
  std::string what;
  bool refusal = false;  // we could go on but must not: exit status 3 instead of 1
};

template <class T = void>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
};

// Evaluates to the value, or returns the error from the enclosing function.
#define TRY(expression)                                                       \
  __extension__({                                                             \
    auto try_result_ = (expression);                                          \
    if (!try_result_) return std::unexpected(std::move(try_result_).error()); \
    *std::move(try_result_);                                                  \
  })

std::unexpected<Error> fail(std::string what, int code = 0);
std::unexpected<Error> refuse(std::string what);
// What stands in the way may be gone in a moment. The text ends by saying so, and is_for_now() knows it by that,
// wherever it has come to.
std::unexpected<Error> refuse_for_now(std::string what);
std::string for_now(std::string what);
bool is_for_now(std::string_view text);

// "what: strerror(errno)"; takes errno as it is when called.
std::unexpected<Error> fail_errno(std::string_view what);
std::unexpected<Error> fail_errno(std::string_view what, int code);

// Prefixes the error of `result`, if it has one, with "context: ".
template <class T>
Result<T> in(std::string_view context, Result<T> result) {
  if (!result) {
    Error error = std::move(result).error();
    error.what.insert(0, std::string(context) + ": ");
    return std::unexpected(std::move(error));
  }
  return result;
}

}  // namespace ks
