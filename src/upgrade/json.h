// SPDX-License-Identifier: LGPL-2.1-or-later
// A JSON value (json-c). Reading a member that is missing or of another type gives an error that names it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct json_object;

namespace ks::upgrade {

class Json {
 public:
  static Json object();
  static Json array();
  static Json array(const std::vector<std::string>& strings);
  static Result<Json> parse(std::string_view text);

  Json(std::string_view text);  // NOLINT: members are written as values
  Json(const char* text) : Json(std::string_view(text)) {}
  Json(const std::string& text) : Json(std::string_view(text)) {}
  Json(bool value);
  Json(double value);
  Json(int64_t value);
  Json(uint64_t value);
  Json(int value) : Json(static_cast<int64_t>(value)) {}
  Json(uint32_t value) : Json(static_cast<int64_t>(value)) {}
  Json(Json&& other) noexcept;
  Json& operator=(Json&& other) noexcept;
  Json(const Json&) = delete;
  Json& operator=(const Json&) = delete;
  ~Json();

  Json& set(const char* key, Json value);
  Json& add(Json value);

  std::string text() const;  // indented

  Result<std::string> string(const char* key) const;
  Result<int64_t> integer(const char* key) const;
  Result<double> number(const char* key) const;
  Result<bool> boolean(const char* key) const;
  Result<std::vector<std::string>> strings(const char* key) const;
  Result<std::vector<int64_t>> integers(const char* key) const;
  Result<Json> object(const char* key) const;
  // Calls `each` for every object of the array; the first error ends it.
  Result<> objects(const char* key, const std::function<Result<>(const Json&)>& each) const;

 private:
  explicit Json(json_object* value) : value_(value) {}
  Result<Json> member(const char* key, int type) const;
  json_object* value_;
};

}  // namespace ks::upgrade
