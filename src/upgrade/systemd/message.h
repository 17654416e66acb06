// SPDX-License-Identifier: LGPL-2.1-or-later
// D-Bus calls and their replies (sd-bus(3)), as values that free themselves.
#pragma once

#include <systemd/sd-bus.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "upgrade/command.h"

namespace ks::upgrade {

class Message {
 public:
  explicit Message(sd_bus_message* message) : message_(message, sd_bus_message_unref) {}

  template <class... Into>
  Result<> read(const char* types, Into... into) {
    return check(sd_bus_message_read(message_.get(), types, into...));
  }
  // Calls `each` in front of every element, whose type is `element`.
  template <class Each>
  Result<> array(const char* element, Each each) {
    TRY(check(sd_bus_message_enter_container(message_.get(), 'a', element)));
    while (!at_end()) TRY(each(*this));
    return check(sd_bus_message_exit_container(message_.get()));
  }
  Result<> skip(const char* types);
  Result<> enter(char type, const char* contents);
  Result<> leave();
  Result<std::vector<std::string>> strings();

 private:
  static Result<> check(int r);
  bool at_end() const { return sd_bus_message_at_end(message_.get(), 0) > 0; }
  std::unique_ptr<sd_bus_message, sd_bus_message* (*)(sd_bus_message*)> message_;
};

class Call {
 public:
  Call(sd_bus* bus, const char* path, const char* interface, const char* method);
  template <class... Values>
  Result<> append(const char* types, Values... values) {
    if (failed_ >= 0) failed_ = sd_bus_message_append(message_.get(), types, values...);
    if (failed_ < 0) return fail_errno(method_, -failed_);
    return {};
  }
  Result<Message> send(uint64_t timeout_microseconds = 0);

 private:
  sd_bus* bus_;
  const char* method_;
  int failed_ = 0;
  std::unique_ptr<sd_bus_message, sd_bus_message* (*)(sd_bus_message*)> message_;
};

class Properties {
 public:
  Properties(sd_bus* bus, const char* name, std::string path, const char* interface)
      : bus_(bus), name_(name), path_(std::move(path)), interface_(interface) {}

  Result<std::string> string(const char* property) const;
  Result<bool> boolean(const char* property) const;
  template <class T>
  Result<T> number(const char* property) const;
  Result<std::vector<std::string>> strings(const char* property) const;
  Result<std::vector<Command>> commands(const char* property) const;  // of type a(sasasttttuii)
  // AppArmorProfile=, of type (bs).
  Result<bool> has_profile() const;
  Result<bool> has_any(const char* property, const char* element) const;

 private:
  Result<Message> get(const char* property, const char* type) const;
  sd_bus* bus_;
  const char* name_;
  std::string path_;
  const char* interface_;
};

}  // namespace ks::upgrade
