"""Words of the frame, and of more than one page."""

from __future__ import annotations

from kikitori.console.words.phrase import Phrase

WORDS = {
    "common.file": Phrase("File", "ファイル", "파일", "文件"),
    "common.live": Phrase("Live", "ライブ", "라이브", "实时"),
    "common.tasks": Phrase("Tasks", "タスク", "작업", "任务"),
    "common.models": Phrase("Models and keys", "モデルとキー", "모델과 키", "模型与密钥"),
    "common.language": Phrase("Language", "表示言語", "표시 언어", "界面语言"),
    "common.ready": Phrase("Server ready", "サーバー稼働中", "서버 준비됨", "服务器就绪"),
    "common.not_ready": Phrase("Server is starting", "サーバー準備中", "서버 준비 중", "服务器正在准备"),
    "common.unreachable": Phrase(
        "Server not reachable", "サーバーに接続できません", "서버에 연결할 수 없음", "无法连接服务器"
    ),
    "common.unreachable_text": Phrase(
        "{url} does not answer. This page tries again by itself.",
        "{url} から応答がありません。このページは自動的に再試行します。",
        "{url} 에서 응답이 없습니다. 이 페이지가 자동으로 다시 시도합니다.",
        "{url} 没有响应。本页会自动重试。",
    ),
    "common.not_open": Phrase(
        "This console can be reached from the network, but its server has no API keys. Make one with "
        "`kikitori keys create`, or start the console with --insecure on a closed network.",
        "このコンソールはネットワークから利用できますが、サーバーに API キーがありません。`kikitori keys create` "
        "でキーを作成するか、閉じたネットワークでは --insecure を付けてコンソールを起動してください。",
        "이 콘솔은 네트워크에서 접근할 수 있지만 서버에 API 키가 없습니다. `kikitori keys create`로 키를 "
        "만들거나, 폐쇄된 네트워크라면 --insecure로 콘솔을 시작하세요.",
        "此控制台可从网络访问，但服务器没有 API 密钥。请用 `kikitori keys create` 创建密钥，"
        "或在封闭网络中使用 --insecure 启动控制台。",
    ),
    "common.try_again": Phrase("Try again", "再試行", "다시 시도", "重试"),
    "common.sign_in": Phrase("Sign in", "サインイン", "로그인", "登录"),
    "common.sign_out": Phrase("Sign out", "サインアウト", "로그아웃", "退出登录"),
    "common.sign_in_text": Phrase(
        "This server asks for an API key. It stays in this page and is forgotten when you close or reload it.",
        "このサーバーには API キーが必要です。キーはこのページだけに保持され、閉じるか再読み込みすると消去されます。",
        "이 서버는 API 키가 필요합니다. 키는 이 페이지에만 보관되고 닫거나 새로고침하면 지워집니다.",
        "此服务器需要 API 密钥。密钥只保存在此页面中，关闭或刷新后即被清除。",
    ),
    "common.key": Phrase("API key", "API キー", "API 키", "API 密钥"),
    "common.key_missing": Phrase("Type your key.", "キーを入力してください。", "키를 입력하세요.", "请输入密钥。"),
    "common.key_wrong": Phrase(
        "The server does not take this key.",
        "このキーは受け付けられませんでした。",
        "서버가 이 키를 받아들이지 않습니다.",
        "服务器不接受此密钥。",
    ),
    "common.choose_files": Phrase("Choose files", "ファイルを選択", "파일 선택", "选择文件"),
    "common.drop_files": Phrase(
        "or drop them here, up to {size} each",
        "またはここにドロップ（1 ファイル {size} まで）",
        "또는 여기에 놓으세요 (파일당 최대 {size})",
        "或拖放到此处（每个文件最大 {size}）",
    ),
    "common.cancel": Phrase("Cancel", "キャンセル", "취소", "取消"),
    "common.save": Phrase("Save", "保存", "저장", "保存"),
    "common.delete": Phrase("Delete", "削除", "삭제", "删除"),
    "common.download": Phrase("Download", "ダウンロード", "다운로드", "下载"),
    "common.copy": Phrase("Copy", "コピー", "복사", "复制"),
    "common.copied": Phrase("Copied", "コピーしました", "복사됨", "已复制"),
    "common.lines.search": Phrase("Search in the text", "テキスト内を検索", "텍스트에서 검색", "在文本中搜索"),
    "common.lines.found": Phrase("{count} lines", "{count} 行", "{count}줄", "{count} 行"),
    "common.lines.copy": Phrase("Copy text", "全文をコピー", "전체 복사", "复制全文"),
    "common.lines.copied": Phrase("Copied", "コピーしました", "복사됨", "已复制"),
    "common.lines.edit": Phrase("Edit this line", "この行を編集", "이 줄 편집", "编辑此行"),
    "common.lines.save": Phrase("Save", "保存", "저장", "保存"),
    "common.lines.cancel": Phrase("Cancel", "キャンセル", "취소", "取消"),
    "common.lines.hear": Phrase("Hear this moment", "ここから再生", "여기부터 듣기", "从此处播放"),
    "common.lines.waiting": Phrase(
        "The first words will appear here.",
        "まもなくここに文字が表示されます。",
        "곧 여기에 텍스트가 나타납니다.",
        "文字即将显示在这里。",
    ),
    "common.lines.edited": Phrase("edited", "編集済み", "편집됨", "已编辑"),
    "common.lines.timeline": Phrase("Timeline", "タイムライン", "타임라인", "时间轴"),
    "common.lines.whole": Phrase("Full text", "全文", "전체 텍스트", "全文"),
    "common.speed": Phrase(
        "{speed}× as fast as spoken", "実時間の {speed} 倍速", "실시간의 {speed}배속", "{speed} 倍速"
    ),
    "common.left": Phrase("about {time} left", "残り約 {time}", "약 {time} 남음", "约剩 {time}"),
    "common.documentation": Phrase("API documentation", "API ドキュメント", "API 문서", "API 文档"),
}
