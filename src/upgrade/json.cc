// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/json.h"

#include <json-c/json.h>

#include <memory>
#include <utility>

namespace ks::upgrade {

Json Json::object() { return Json(json_object_new_object()); }
Json Json::array() { return Json(json_object_new_array()); }

Json Json::array(const std::vector<std::string>& strings) {
  Json value = array();
  for (const std::string& string : strings) value.add(string);
  return value;
}

Result<Json> Json::parse(std::string_view text) {
  std::unique_ptr<json_tokener, void (*)(json_tokener*)> tokener(json_tokener_new(), json_tokener_free);
  json_object* value = json_tokener_parse_ex(tokener.get(), text.data(), static_cast<int>(text.size()));
  json_tokener_error error = json_tokener_get_error(tokener.get());
  if (error != json_tokener_success) return fail(std::string("JSON: ") + json_tokener_error_desc(error));
  return Json(value);
}

Json::Json(std::string_view text) : value_(json_object_new_string_len(text.data(), static_cast<int>(text.size()))) {}
Json::Json(bool value) : value_(json_object_new_boolean(value)) {}
Json::Json(double value) : value_(json_object_new_double(value)) {}
Json::Json(int64_t value) : value_(json_object_new_int64(value)) {}
Json::Json(uint64_t value) : value_(json_object_new_uint64(value)) {}
Json::Json(Json&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
Json& Json::operator=(Json&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}
Json::~Json() { json_object_put(value_); }

Json& Json::set(const char* key, Json value) {
  json_object_object_add(value_, key, std::exchange(value.value_, nullptr));
  return *this;
}

Json& Json::add(Json value) {
  json_object_array_add(value_, std::exchange(value.value_, nullptr));
  return *this;
}

std::string Json::text() const {
  return std::string(json_object_to_json_string_ext(
             value_, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)) +
         "\n";
}

Result<Json> Json::member(const char* key, int type) const {
  json_object* value = nullptr;
  if (!json_object_is_type(value_, json_type_object) || !json_object_object_get_ex(value_, key, &value))
    return fail(std::string("\"") + key + "\" is missing");
  bool fits = json_object_is_type(value, static_cast<json_type>(type)) ||
              (type == json_type_double && json_object_is_type(value, json_type_int));
  if (!fits) return fail(std::string("\"") + key + "\" is of the wrong type");
  return Json(json_object_get(value));
}

Result<std::string> Json::string(const char* key) const {
  Json value = TRY(member(key, json_type_string));
  return std::string(json_object_get_string(value.value_),
                     static_cast<size_t>(json_object_get_string_len(value.value_)));
}

Result<int64_t> Json::integer(const char* key) const {
  return json_object_get_int64(TRY(member(key, json_type_int)).value_);
}

Result<double> Json::number(const char* key) const {
  return json_object_get_double(TRY(member(key, json_type_double)).value_);
}

Result<bool> Json::boolean(const char* key) const {
  return json_object_get_boolean(TRY(member(key, json_type_boolean)).value_) != 0;
}

Result<std::vector<std::string>> Json::strings(const char* key) const {
  Json list = TRY(member(key, json_type_array));
  std::vector<std::string> strings;
  for (size_t i = 0; i < json_object_array_length(list.value_); ++i) {
    json_object* item = json_object_array_get_idx(list.value_, i);
    if (!json_object_is_type(item, json_type_string)) return fail(std::string("\"") + key + "\": not a string");
    strings.emplace_back(json_object_get_string(item));
  }
  return strings;
}

Result<std::vector<int64_t>> Json::integers(const char* key) const {
  Json list = TRY(member(key, json_type_array));
  std::vector<int64_t> integers;
  for (size_t i = 0; i < json_object_array_length(list.value_); ++i) {
    json_object* item = json_object_array_get_idx(list.value_, i);
    if (!json_object_is_type(item, json_type_int)) return fail(std::string("\"") + key + "\": not a number");
    integers.push_back(json_object_get_int64(item));
  }
  return integers;
}

Result<Json> Json::object(const char* key) const { return member(key, json_type_object); }

Result<> Json::objects(const char* key, const std::function<Result<>(const Json&)>& each) const {
  Json list = TRY(member(key, json_type_array));
  for (size_t i = 0; i < json_object_array_length(list.value_); ++i)
    TRY(in(key, each(Json(json_object_get(json_object_array_get_idx(list.value_, i))))));
  return {};
}

}  // namespace ks::upgrade
