// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/x86_64/vdso_code.h"

#include <initializer_list>

namespace ks::engine {

namespace {

void add(std::vector<std::byte>& code, std::initializer_list<int> bytes) {
  for (int byte : bytes) code.push_back(static_cast<std::byte>(byte));
}

template <class T>
void add_immediate(std::vector<std::byte>& code, T value) {
  for (size_t i = 0; i < sizeof value; ++i) code.push_back(static_cast<std::byte>(value >> (8 * i)));
}

}  // namespace

std::vector<std::byte> jump_code(uint64_t target) {
  std::vector<std::byte> code;
  add(code, {0x49, 0xbb});  // movabs $target, %r11
  add_immediate(code, target);
  add(code, {0x41, 0xff, 0xe3});  // jmp *%r11
  return code;
}

std::vector<std::byte> system_call_code(uint32_t number) {
  std::vector<std::byte> code;
  add(code, {0xb8});  // mov $number, %eax
  add_immediate(code, number);
  add(code, {0x0f, 0x05});  // syscall
  add(code, {0xc3});        // ret
  return code;
}

std::vector<std::byte> getrandom_code(uint32_t number) {
  std::vector<std::byte> code;
  add(code, {0x49, 0x83, 0xf8, 0xff});  // cmp $-1, %r8
  add(code, {0x75, 0x08});              // jne to the system call
  add(code, {0x48, 0xc7, 0xc0});        // mov $-ENOSYS, %rax
  add_immediate(code, static_cast<uint32_t>(-38));
  add(code, {0xc3});  // ret
  auto call = system_call_code(number);
  code.insert(code.end(), call.begin(), call.end());
  return code;
}

}  // namespace ks::engine
