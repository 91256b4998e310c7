package clock

import (
	"encoding/hex"
	"strings"
)

// Where things are in the stub.
const (
	magic      = "faultclk"
	atSelector = 8
	atSlots    = 16
	slotSize   = 2 * lineSize
	slotCount  = 2
	atCode     = atSlots + slotCount*slotSize
	codeText   = `
clock_gettime:
90  b8 e4 00 00 00  mov eax,0xe4
95  0f 05  syscall
97  85 c0  test eax,eax
99  75 68  jne 103
9b  4c 8d 0d 6e ff ff ff  lea r9,[rip-0x92] ; slots
a2  0f b6 0d 5f ff ff ff  movzx ecx,BYTE PTR [rip-0xa1] ; sel
a9  c1 e1 06  shl ecx,0x6
ac  49 01 c9  add r9,rcx
af  85 ff  test edi,edi
b1  74 13  je c6
b3  83 ff 05  cmp edi,0x5
b6  74 0e  je c6
b8  49 83 c1 20  add r9,0x20
bc  83 ff 01  cmp edi,0x1
bf  74 05  je c6
c1  83 ff 06  cmp edi,0x6
c4  75 3d  jne 103
c6  48 69 06 00 ca 9a 3b  imul rax,QWORD PTR [rsi],0x3b9aca00
cd  48 03 46 08  add rax,QWORD PTR [rsi+0x8]
d1  31 c9  xor ecx,ecx
d3  49 2b 01  sub rax,QWORD PTR [r9]
d6  48 0f 48 c1  cmovs rax,rcx
da  49 f7 69 10  imul QWORD PTR [r9+0x10]
de  48 0f ac d0 20  shrd rax,rdx,0x20
e3  49 03 41 08  add rax,QWORD PTR [r9+0x8]
e7  49 3b 41 18  cmp rax,QWORD PTR [r9+0x18]
eb  49 0f 4c 41 18  cmovl rax,QWORD PTR [r9+0x18]
f0  31 d2  xor edx,edx
f2  b9 00 ca 9a 3b  mov ecx,0x3b9aca00
f7  48 f7 f1  div rcx
fa  48 89 06  mov QWORD PTR [rsi],rax
fd  48 89 56 08  mov QWORD PTR [rsi+0x8],rdx
101  31 c0  xor eax,eax
103  c3  ret
gettimeofday:
104  57  push rdi
105  48 83 ec 10  sub rsp,0x10
109  48 85 f6  test rsi,rsi
10c  74 09  je 117
10e  31 ff  xor edi,edi
110  b8 60 00 00 00  mov eax,0x60
115  0f 05  syscall
117  31 ff  xor edi,edi
119  48 89 e6  mov rsi,rsp
11c  e8 6f ff ff ff  call 90
121  48 8b 34 24  mov rsi,QWORD PTR [rsp]
125  48 8b 44 24 08  mov rax,QWORD PTR [rsp+0x8]
12a  31 d2  xor edx,edx
12c  b9 e8 03 00 00  mov ecx,0x3e8
131  48 f7 f1  div rcx
134  48 83 c4 10  add rsp,0x10
138  5f  pop rdi
139  48 85 ff  test rdi,rdi
13c  74 07  je 145
13e  48 89 37  mov QWORD PTR [rdi],rsi
141  48 89 47 08  mov QWORD PTR [rdi+0x8],rax
145  31 c0  xor eax,eax
147  c3  ret
time:
148  57  push rdi
149  48 83 ec 10  sub rsp,0x10
14d  31 ff  xor edi,edi
14f  48 89 e6  mov rsi,rsp
152  e8 39 ff ff ff  call 90
157  48 8b 04 24  mov rax,QWORD PTR [rsp]
15b  48 83 c4 10  add rsp,0x10
15f  5f  pop rdi
160  48 85 ff  test rdi,rdi
163  74 03  je 168
165  48 89 07  mov QWORD PTR [rdi],rax
168  c3  ret
`
)

// functions are the vDSO's functions that are replaced, and where in the stub what
// replaces them is.
func functions() map[string]int {
	return map[string]int{"__vdso_clock_gettime": 0x90, "__vdso_gettimeofday": 0x104, "__vdso_time": 0x148}
}

// stub is what is put into a process, with two slots that change nothing: the
// machine code of stub_amd64.S.txt. Each line of codeText is a place, bytes, and
// the instruction that they are.
func stub() []byte {
	b := make([]byte, atCode)
	copy(b, magic)
	for i := range slotCount {
		copy(b[atSlots+i*slotSize:], Face{Real: right(), Mono: right()}.encode())
	}
	for line := range strings.Lines(codeText) {
		_, rest, ok := strings.Cut(line, " ")
		if !ok {
			continue // a name
		}
		bytes, _, _ := strings.Cut(strings.TrimLeft(rest, " "), "  ")
		code, err := hex.DecodeString(strings.ReplaceAll(bytes, " ", ""))
		if err != nil {
			return nil // a test looks
		}
		b = append(b, code...)
	}
	return b
}
