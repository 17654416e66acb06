// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/systemd/message.h"

#include <cstdint>

namespace ks::upgrade {

namespace {

constexpr char kName[] = "org.freedesktop.systemd1";

template <class T>
constexpr const char* kSignature = nullptr;
template <>
constexpr const char* kSignature<uint32_t> = "u";
template <>
constexpr const char* kSignature<int32_t> = "i";
template <>
constexpr const char* kSignature<uint64_t> = "t";

class BusError {
 public:
  ~BusError() { sd_bus_error_free(&error_); }
  sd_bus_error* get() { return &error_; }
  std::unexpected<Error> as_error(std::string_view what, int r) const {
    if (!error_.message) return fail_errno(what, -r);
    return fail(std::string(what) + ": " + error_.message, sd_bus_error_get_errno(&error_));
  }

 private:
  sd_bus_error error_ = SD_BUS_ERROR_NULL;
};

}  // namespace

Result<> Message::check(int r) {
  if (r < 0) return fail_errno("a reply of systemd", -r);
  return {};
}

Result<> Message::enter(char type, const char* contents) {
  return check(sd_bus_message_enter_container(message_.get(), type, contents));
}

Result<> Message::leave() { return check(sd_bus_message_exit_container(message_.get())); }

Result<> Message::skip(const char* types) { return check(sd_bus_message_skip(message_.get(), types)); }

Result<std::vector<std::string>> Message::strings() {
  std::vector<std::string> strings;
  TRY(array("s", [&](Message& item) -> Result<> {
    const char* string = "";
    TRY(item.read("s", &string));
    strings.emplace_back(string);
    return {};
  }));
  return strings;
}

Call::Call(sd_bus* bus, const char* path, const char* interface, const char* method)
    : bus_(bus), method_(method), message_(nullptr, sd_bus_message_unref) {
  sd_bus_message* message = nullptr;
  failed_ = sd_bus_message_new_method_call(bus, &message, kName, path, interface, method);
  message_.reset(message);
}

Result<Message> Call::send(uint64_t timeout_microseconds) {
  if (failed_ < 0) return fail_errno(method_, -failed_);
  BusError error;
  sd_bus_message* reply = nullptr;
  int r = sd_bus_call(bus_, message_.get(), timeout_microseconds, error.get(), &reply);
  if (r < 0) return error.as_error(std::string("systemd: ") + method_, r);
  return Message(reply);
}

Result<Message> Properties::get(const char* property, const char* type) const {
  BusError error;
  sd_bus_message* reply = nullptr;
  int r = sd_bus_get_property(bus_, name_, path_.c_str(), interface_, property, error.get(), &reply, type);
  if (r < 0) return error.as_error(std::string("systemd: ") + property, r);
  return Message(reply);
}

Result<std::string> Properties::string(const char* property) const {
  Message reply = TRY(get(property, "s"));
  const char* value = "";
  TRY(reply.read("s", &value));
  return std::string(value);
}

Result<bool> Properties::boolean(const char* property) const {
  Message reply = TRY(get(property, "b"));
  int value = 0;
  TRY(reply.read("b", &value));
  return value != 0;
}

template <class T>
Result<T> Properties::number(const char* property) const {
  Message reply = TRY(get(property, kSignature<T>));
  T value = 0;
  TRY(reply.read(kSignature<T>, &value));
  return value;
}
template Result<uint32_t> Properties::number<uint32_t>(const char*) const;
template Result<int32_t> Properties::number<int32_t>(const char*) const;
template Result<uint64_t> Properties::number<uint64_t>(const char*) const;

Result<std::vector<std::string>> Properties::strings(const char* property) const {
  Message reply = TRY(get(property, "as"));
  return reply.strings();
}

Result<bool> Properties::has_profile() const {
  Message reply = TRY(get("AppArmorProfile", "(bs)"));
  int ignores_failure = 0;
  const char* profile = "";
  TRY(reply.read("(bs)", &ignores_failure, &profile));
  return *profile != '\0';
}

Result<bool> Properties::has_any(const char* property, const char* element) const {
  Message reply = TRY(get(property, (std::string("a") + element).c_str()));
  bool any = false;
  TRY(reply.array(element, [&](Message& item) {
    any = true;
    return item.skip(element);
  }));
  return any;
}

Result<std::vector<Command>> Properties::commands(const char* property) const {
  constexpr char kEntry[] = "sasasttttuii";
  Message reply = TRY(get(property, "a(sasasttttuii)"));
  std::vector<Command> commands;
  TRY(reply.array("(sasasttttuii)", [&](Message& item) -> Result<> {
    TRY(item.enter('r', kEntry));
    Command command;
    const char* path = "";
    TRY(item.read("s", &path));
    command.path = path;
    command.arguments = TRY(item.strings());
    command.flags = TRY(item.strings());
    uint64_t time = 0;
    uint32_t pid = 0;
    int32_t code = 0, status = 0;
    TRY(item.read("ttttuii", &time, &time, &time, &time, &pid, &code, &status));
    commands.push_back(std::move(command));
    return item.leave();
  }));
  return commands;
}

}  // namespace ks::upgrade
