"""Words of the page *Models and keys*."""

from __future__ import annotations

from kikitori.console.words.phrase import Phrase

WORDS = {
    "models.models": Phrase("Models", "モデル", "모델", "模型"),
    "models.keys": Phrase("API keys", "API キー", "API 키", "API 密钥"),
    "models.here": Phrase("On this server", "このサーバーのモデル", "이 서버의 모델", "此服务器上的模型"),
    "models.read_only": Phrase(
        "To load and download models, sign in with a key that may manage models.",
        "モデルの読み込みやダウンロードには、モデル管理の権限を持つキーでサインインしてください。",
        "모델을 불러오거나 내려받으려면 모델 관리 권한이 있는 키로 로그인하세요.",
        "要加载或下载模型，请使用具有模型管理权限的密钥登录。",
    ),
    "models.english_only": Phrase("English only", "英語のみ", "영어 전용", "仅英语"),
    "models.batches": Phrase(
        "{mean} windows a batch", "1 バッチ平均 {mean} 窓", "배치당 평균 {mean}개", "每批平均 {mean} 段"
    ),
    "models.state.ready": Phrase("In memory", "使用可能", "메모리에 있음", "已加载"),
    "models.state.loading": Phrase("Loading", "読み込み中", "불러오는 중", "加载中"),
    "models.state.failed": Phrase("Failed", "失敗", "실패", "失败"),
    "models.state.on_disk": Phrase("On disk", "ディスク上", "디스크에 있음", "在磁盘上"),
    "models.load": Phrase("Load", "メモリに読み込む", "불러오기", "加载"),
    "models.unload": Phrase("Unload", "メモリから外す", "내리기", "卸载"),
    "models.remove": Phrase("Remove…", "削除…", "삭제…", "删除…"),
    "models.remove_now": Phrase("Remove from the disk", "ディスクから削除", "디스크에서 삭제", "从磁盘删除"),
    "models.downloads": Phrase("Downloads", "ダウンロード", "다운로드", "下载"),
    "models.download": Phrase("Download", "ダウンロード", "다운로드", "下载"),
    "models.again": Phrase("Go on", "再開", "계속", "继续"),
    "models.stop": Phrase("Stop", "停止", "중지", "停止"),
    "models.asking": Phrase("asking the hub", "ハブに問い合わせ中", "허브에 묻는 중", "正在询问模型库"),
    "models.download.done": Phrase("Here", "完了", "완료", "已完成"),
    "models.download.failed": Phrase("Failed", "失敗", "실패", "失败"),
    "models.download.cancelled": Phrase("Stopped", "停止", "중지됨", "已停止"),
    "models.to_be_had": Phrase("More models", "ほかのモデル", "다른 모델", "更多模型"),
    "models.other": Phrase(
        "A short name, or a model of the hub",
        "短い名前、またはハブのモデル名",
        "짧은 이름 또는 허브의 모델",
        "简称，或模型库中的模型",
    ),
    "models.known": Phrase(
        "{count} known models", "既知のモデル {count} 件", "알려진 모델 {count}개", "{count} 个已知模型"
    ),
    "models.admin_only": Phrase(
        "Sign in with an administrator's key to see and make API keys.",
        "API キーの表示と作成には、管理者のキーでサインインしてください。",
        "API 키를 보고 만들려면 관리자 키로 로그인하세요.",
        "请使用管理员密钥登录，以查看和创建 API 密钥。",
    ),
    "models.new_key": Phrase("New key", "新しいキー", "새 키", "新建密钥"),
    "models.first_key": Phrase(
        "From the first key on, nobody gets in without one. You are signed in with it right away.",
        "最初のキーを作ると、以後はキーなしでは利用できなくなります。作成後、そのキーで自動的にサインインします。",
        "첫 키를 만들면 그때부터 키 없이는 들어올 수 없습니다. 만든 키로 바로 로그인됩니다.",
        "创建第一个密钥后，没有密钥将无法访问。创建后会立即用它登录。",
    ),
    "models.key_name": Phrase("What it is for", "用途", "용도", "用途"),
    "models.key_owner": Phrase("Owner", "所有者", "소유자", "所有者"),
    "models.key_scopes": Phrase("Allowed to", "権限", "권한", "权限"),
    "models.scope.transcribe": Phrase("transcribe", "文字起こし", "받아쓰기", "转写"),
    "models.scope.models": Phrase("manage models", "モデル管理", "모델 관리", "管理模型"),
    "models.scope.admin": Phrase("everything", "すべて（管理者）", "모두 (관리자)", "全部（管理员）"),
    "models.make_key": Phrase("Make key", "キーを作成", "키 만들기", "创建密钥"),
    "models.key_made": Phrase(
        "Copy the key now: nobody can show it again.",
        "今すぐキーをコピーしてください。二度と表示できません。",
        "지금 키를 복사하세요. 다시 볼 수 없습니다.",
        "请立即复制密钥：之后将无法再次显示。",
    ),
    "models.key_kept": Phrase("I have kept it", "保存しました", "보관했습니다", "我已保存"),
    "models.key_used": Phrase("last used {at}", "最終使用 {at}", "마지막 사용 {at}", "最后使用 {at}"),
    "models.key_unused": Phrase("not used yet", "未使用", "아직 사용 안 함", "尚未使用"),
    "models.revoke": Phrase("Revoke…", "無効にする…", "폐기…", "撤销…"),
    "models.revoke_now": Phrase("Revoke for good", "完全に無効にする", "영구 폐기", "永久撤销"),
    "models.revoke_sure": Phrase(
        "Programs with this key will be refused.",
        "このキーを使うプログラムは拒否されます。",
        "이 키를 쓰는 프로그램은 거부됩니다.",
        "使用此密钥的程序将被拒绝。",
    ),
    "models.revoked": Phrase(
        "{count} revoked keys", "無効なキー {count} 件", "폐기된 키 {count}개", "{count} 个已撤销的密钥"
    ),
}
